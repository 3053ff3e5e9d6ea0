# The package that `cmake --install` makes: every library of MLEDGE_LIBRARIES
# with its headers, and mledgeConfig.cmake for find_package(mledge). Each
# library's headers have an include directory of their own, so that an arrow
# that was not declared does not compile in the user's program either.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(_libraries GLOBAL PROPERTY MLEDGE_LIBRARIES)
set(_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/mledge")

set(_library_folders "")
foreach(_name ${_libraries})
  get_target_property(_folder mledge_${_name} MLEDGE_FOLDER)
  list(APPEND _library_folders "${_folder}")
endforeach()

foreach(_name ${_libraries})
  set(_destination "include/mledge-modules/${_name}")
  get_target_property(_folder mledge_${_name} MLEDGE_FOLDER)
  if(_folder STREQUAL "proto")
    # Generated headers; the folder itself holds none.
    install(DIRECTORY "${PROJECT_BINARY_DIR}/include/mledge_${_name}/"
            DESTINATION "${_destination}" FILES_MATCHING PATTERN "*.pb.h")
  else()
    # A folder below that is a library of its own keeps its headers to itself.
    set(_exclude "")
    foreach(_other ${_library_folders})
      if(_other MATCHES "^${_folder}/")
        list(APPEND _exclude REGEX "/${_other}$" EXCLUDE)
      endif()
    endforeach()
    install(DIRECTORY "${PROJECT_SOURCE_DIR}/${_folder}/"
            DESTINATION "${_destination}/mledge/${_folder}"
            FILES_MATCHING PATTERN "*.h" ${_exclude})
  endif()
  install(TARGETS mledge_${_name} EXPORT mledgeTargets
          ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endforeach()

if(_libraries)
  install(EXPORT mledgeTargets NAMESPACE mledge::
          DESTINATION "${_package_dir}")
  configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/mledgeConfig.cmake.in"
    "${PROJECT_BINARY_DIR}/mledgeConfig.cmake"
    INSTALL_DESTINATION "${_package_dir}")
  write_basic_package_version_file(
    "${PROJECT_BINARY_DIR}/mledgeConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/mledgeConfig.cmake"
                "${PROJECT_BINARY_DIR}/mledgeConfigVersion.cmake"
                "${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake"
          DESTINATION "${_package_dir}")
endif()
