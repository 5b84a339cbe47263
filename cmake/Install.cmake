# cmake --install: libmyriad.so with its soname, the headers, a CMake config package (find_package(myriad), myriad::myriad),
# myriad.pc for pkg-config, the program. And the target `python`: the wheel. Paths are relative to the files that hold them, so
# an installed tree may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET myriad_shared)
  set_target_properties(myriad_shared PROPERTIES EXPORT_NAME myriad)
  target_include_directories(myriad_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS myriad_shared EXPORT myriadTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
  install(DIRECTORY include/myriad DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
  set(install_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/myriad)
  install(EXPORT myriadTargets NAMESPACE myriad:: DESTINATION ${install_config_dir} COMPONENT library)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/install/myriadConfig.cmake @ONLY CONTENT
"include(\${CMAKE_CURRENT_LIST_DIR}/myriadTargets.cmake)
")
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/install/myriadConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/install/myriadConfig.cmake ${CMAKE_BINARY_DIR}/install/myriadConfigVersion.cmake
          DESTINATION ${install_config_dir} COMPONENT library)
  file(RELATIVE_PATH install_up "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/install/myriad.pc @ONLY CONTENT
"prefix=\${pcfiledir}/@install_up@
libdir=\${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=\${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: myriad
Description: machine-learning models of many segments, scored in place
Version: @PROJECT_VERSION@
Libs: -L\${libdir} -lmyriad
Cflags: -I\${includedir}
")
  install(FILES ${CMAKE_BINARY_DIR}/install/myriad.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

  # The wheel is a part of every build that people use: scripts/setup brings Python, nothing else is needed.
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(Python3_FOUND)
    file(GLOB python_sources CONFIGURE_DEPENDS python/*.py python/myriad/*.py)
    set(wheel_all ALL)
    if(MYR_SANITIZE OR MYR_FUZZ)
      set(wheel_all "")
    endif()
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/wheel.stamp
                       COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/python/make_wheel.py
                               --library $<TARGET_FILE:myriad_shared> --out ${CMAKE_BINARY_DIR}
                       COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_BINARY_DIR}/wheel.stamp
                       DEPENDS myriad_shared ${python_sources} COMMENT "Making the wheel of the Python package" VERBATIM)
    add_custom_target(python ${wheel_all} DEPENDS ${CMAKE_BINARY_DIR}/wheel.stamp)
  endif()
endif()
if(TARGET myriad)
  install(TARGETS myriad RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program OPTIONAL)
endif()
