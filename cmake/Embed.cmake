# Data files compiled into a library: myr_embed(TARGET FILE...) gives `const unsigned char myr_embed_<name>[]` (NUL-terminated, with
# . and - as _) and `const size_t myr_embed_<name>_size` for each. The program then needs no path to find them.
function(myr_embed target)
  foreach(path IN LISTS ARGN)
    get_filename_component(name ${path} NAME)
    string(MAKE_C_IDENTIFIER ${name} name)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${path})
    file(READ ${CMAKE_SOURCE_DIR}/${path} hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR size "${digits} / 2")
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
    file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/embed/${name}.c @ONLY CONTENT
"/* Made from @path@ by cmake/Embed.cmake. */
#include <stddef.h>
extern const unsigned char myr_embed_@name@[];
extern const size_t myr_embed_@name@_size;
const unsigned char myr_embed_@name@[] = {
@bytes@0};
const size_t myr_embed_@name@_size = @size@;
")
    target_sources(${target} PRIVATE ${CMAKE_BINARY_DIR}/embed/${name}.c)
  endforeach()
endfunction()
