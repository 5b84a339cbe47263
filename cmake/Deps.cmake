# What myriad links that is not ours, as imported targets dep::*. Pinned libraries come from .deps/ (scripts/setup made it),
# the rest from Debian packages. Whatever is missing is said in one message; only DuckDB and librdkafka may be missing.
#
#   dep::duckdb dep::yyjson dep::microhttpd dep::sqlite3 dep::yaml dep::hiredis dep::nghttp2 dep::zlib dep::glib  libraries
#   dep::cmocka                                                                   if found; tests need it
#   dep::xgboost_headers dep::onnxruntime_headers                                 headers only: opened at run time, from
#   MYR_DEFAULT_XGBOOST_LIB MYR_DEFAULT_ONNXRUNTIME_LIB                           these absolute paths ("" if absent);
#                                                                                 the header targets define both as strings
#   dep::pq_headers dep::lapacke_headers dep::rdkafka_headers                     headers only: opened at run time by name
# -DMYR_WITH_DUCKDB=OFF leaves DuckDB and LAPACKE out, -DMYR_WITH_KAFKA=OFF librdkafka.

set(MYR_DEPS ${CMAKE_SOURCE_DIR}/.deps)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/scripts/pins.txt)
set(dep_missing "")

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# dep_from_pkgconfig(NAME MODULE...): dep::NAME from pkg-config, if it is there.
function(dep_from_pkgconfig name)
  pkg_check_modules(DEP_${name} QUIET IMPORTED_TARGET GLOBAL ${ARGN})
  if(DEP_${name}_FOUND)
    add_library(dep::${name} INTERFACE IMPORTED GLOBAL)
    target_link_libraries(dep::${name} INTERFACE PkgConfig::DEP_${name})
    message(STATUS "dep::${name}: ${ARGN} ${DEP_${name}_VERSION}")
  endif()
endfunction()

# ---- DuckDB: static archives, C++ inside. A linker reads them once, so users stand before what they use. ----
if(MYR_WITH_DUCKDB)
  if(EXISTS ${MYR_DEPS}/duckdb/lib/libduckdb_static.a)
    set(dep_archives "")
    foreach(part duckdb_static duckdb_generated_extension_loader autocomplete_extension core_functions_extension
            icu_extension json_extension parquet_extension duckdb_fastpforlib duckdb_fmt duckdb_fsst duckdb_hyperloglog
            duckdb_mbedtls duckdb_miniz duckdb_pg_query duckdb_re2 duckdb_skiplistlib duckdb_utf8proc duckdb_yyjson
            duckdb_zstd)
      list(APPEND dep_archives ${MYR_DEPS}/duckdb/lib/lib${part}.a)
    endforeach()
    add_library(dep::duckdb INTERFACE IMPORTED GLOBAL)
    target_include_directories(dep::duckdb INTERFACE ${MYR_DEPS}/duckdb/include)
    target_link_libraries(dep::duckdb INTERFACE ${dep_archives} stdc++ m ${CMAKE_DL_LIBS} Threads::Threads)
    target_compile_definitions(dep::duckdb INTERFACE DUCKDB_STATIC_BUILD)
    message(STATUS "dep::duckdb from .deps/duckdb")
  else()
    set(MYR_WITH_DUCKDB OFF)
    message(WARNING "DuckDB is missing (.deps/duckdb): no tables, no batch, no train, no program `myriad`. "
                    "scripts/setup fetches it; -DMYR_WITH_DUCKDB=OFF says that this is wanted.")
  endif()
else()
  message(STATUS "without DuckDB: no tables, no batch, no train, no program `myriad`")
endif()

# ---- yyjson: compiled in, its symbols hidden, so that libmyriad.so neither needs nor exports it ----
if(EXISTS ${MYR_DEPS}/yyjson/yyjson.c)
  add_library(dep_yyjson STATIC ${MYR_DEPS}/yyjson/yyjson.c)
  set_target_properties(dep_yyjson PROPERTIES C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
                        C_CLANG_TIDY "" EXPORT_COMPILE_COMMANDS OFF)
  target_compile_options(dep_yyjson PRIVATE -w -O2 -g0)
  target_compile_definitions(dep_yyjson PUBLIC yyjson_api=) # its header would mark each function as exported
  target_include_directories(dep_yyjson SYSTEM PUBLIC ${MYR_DEPS}/yyjson)
  if(TARGET myr_flags)
    target_link_libraries(dep_yyjson PRIVATE myr_flags) # -ffp-contract=off and the sanitizers
    if(MYR_SANITIZE) # its one large file takes minutes under UBSan, which looks for mistakes that are not ours
      target_compile_options(dep_yyjson PRIVATE -O1 -fno-sanitize=undefined)
    endif()
  endif()
  add_library(dep::yyjson ALIAS dep_yyjson)
else()
  list(APPEND dep_missing ".deps/yyjson")
endif()

# ---- libmicrohttpd 1.0 of Debian 13, static; GnuTLS of the system does TLS ----
pkg_check_modules(DEP_gnutls QUIET IMPORTED_TARGET GLOBAL gnutls>=3.6.3)
if(EXISTS ${MYR_DEPS}/microhttpd/lib/libmicrohttpd.a AND DEP_gnutls_FOUND)
  add_library(dep::microhttpd STATIC IMPORTED GLOBAL)
  set_target_properties(dep::microhttpd PROPERTIES IMPORTED_LOCATION ${MYR_DEPS}/microhttpd/lib/libmicrohttpd.a)
  target_include_directories(dep::microhttpd INTERFACE ${MYR_DEPS}/microhttpd/include)
  target_link_libraries(dep::microhttpd INTERFACE PkgConfig::DEP_gnutls Threads::Threads)
else()
  list(APPEND dep_missing ".deps/microhttpd and libgnutls28-dev")
endif()

dep_from_pkgconfig(sqlite3 sqlite3)
dep_from_pkgconfig(yaml yaml-0.1)
dep_from_pkgconfig(hiredis hiredis)
dep_from_pkgconfig(lua lua5.4)
dep_from_pkgconfig(cmocka cmocka)
dep_from_pkgconfig(zlib zlib)
dep_from_pkgconfig(nghttp2 libnghttp2)
dep_from_pkgconfig(glib glib-2.0>=2.68)
if(NOT TARGET dep::zlib)
  list(APPEND dep_missing "zlib1g-dev")
endif()
if(NOT TARGET dep::glib)
  list(APPEND dep_missing "libglib2.0-dev")
endif()
if(NOT TARGET dep::lua)
  list(APPEND dep_missing "liblua5.4-dev")
endif()
foreach(name sqlite3 yaml hiredis nghttp2)
  if(NOT TARGET dep::${name})
    list(APPEND dep_missing "lib${name}-dev")
  endif()
endforeach()

# dep_headers_from_pkgconfig(NAME MODULE...): dep::NAME_headers, if they are there; the library is opened at run time.
function(dep_headers_from_pkgconfig name)
  pkg_check_modules(DEP_${name} QUIET ${ARGN})
  if(DEP_${name}_FOUND)
    add_library(dep::${name}_headers INTERFACE IMPORTED GLOBAL)
    target_include_directories(dep::${name}_headers SYSTEM INTERFACE ${DEP_${name}_INCLUDE_DIRS})
    message(STATUS "dep::${name}_headers: ${ARGN} ${DEP_${name}_VERSION}")
  endif()
endfunction()

dep_headers_from_pkgconfig(pq libpq)
if(NOT TARGET dep::pq_headers)
  list(APPEND dep_missing "libpq-dev")
endif()

# ---- librdkafka: without it streams say what is missing ----
if(MYR_WITH_KAFKA)
  dep_headers_from_pkgconfig(rdkafka rdkafka>=1.9)
  if(NOT TARGET dep::rdkafka_headers)
    set(MYR_WITH_KAFKA OFF)
    message(WARNING "librdkafka-dev is missing: no streams. scripts/setup installs it; -DMYR_WITH_KAFKA=OFF says that "
                    "this is wanted.")
  endif()
endif()

# ---- LAPACKE over OpenBLAS: training only, which needs DuckDB ----
if(MYR_WITH_DUCKDB)
  dep_headers_from_pkgconfig(lapacke lapacke openblas)
  if(NOT TARGET dep::lapacke_headers)
    list(APPEND dep_missing "liblapacke-dev and libopenblas-dev")
  endif()
endif()

# ---- opened at run time: headers now, the library's place as a default that an option can change ----
# The place is resolved here, through .deps: a program keeps the library it was built and tested with.
function(dep_default_path variable path)
  set(found "")
  if(EXISTS ${path})
    file(REAL_PATH ${path} found)
  endif()
  set(${variable} "${found}" PARENT_SCOPE)
endfunction()
dep_default_path(MYR_DEFAULT_XGBOOST_LIB ${MYR_DEPS}/xgboost/lib/libxgboost.so)
dep_default_path(MYR_DEFAULT_ONNXRUNTIME_LIB ${MYR_DEPS}/onnxruntime/lib/libonnxruntime.so.1)
foreach(name xgboost onnxruntime)
  string(TOUPPER ${name} upper)
  if(EXISTS ${MYR_DEPS}/${name}/include)
    add_library(dep::${name}_headers INTERFACE IMPORTED GLOBAL)
    target_include_directories(dep::${name}_headers INTERFACE ${MYR_DEPS}/${name}/include)
    target_compile_definitions(dep::${name}_headers INTERFACE MYR_DEFAULT_${upper}_LIB="${MYR_DEFAULT_${upper}_LIB}")
  elseif(name STREQUAL "onnxruntime" OR MYR_WITH_DUCKDB)
    list(APPEND dep_missing ".deps/${name}")
  endif()
  if(MYR_DEFAULT_${upper}_LIB STREQUAL "")
    message(STATUS "${name}: no library in .deps; it is looked for at run time only")
  endif()
endforeach()

if(NOT TARGET dep::cmocka)
  message(STATUS "cmocka is missing: no unit tests (scripts/setup --tests installs it)")
endif()
if(dep_missing)
  list(JOIN dep_missing ", " dep_missing)
  message(FATAL_ERROR "missing: ${dep_missing}. Run scripts/setup, then configure again.")
endif()
