# Finds LibTorch and defines the one imported target mledge::libtorch with exact paths.
#
# Not find_package(Torch): its config searches the system's folders first and, with Debian's package installed
# beside a newer one, links the old library under the new headers; a CUDA build's config also demands a toolkit.
#
# Looked at, in this order: MLEDGE_LIBTORCH (CMake or environment), the folder that scripts/install-deps unpacks
# into, Debian's libtorch-dev under /usr.

set(_mledge_libtorch_candidates "${MLEDGE_LIBTORCH}" "$ENV{MLEDGE_LIBTORCH}")
if(DEFINED ENV{XDG_CACHE_HOME})
  list(APPEND _mledge_libtorch_candidates "$ENV{XDG_CACHE_HOME}/mledge/libtorch-2.13.0-cpu")
else()
  list(APPEND _mledge_libtorch_candidates "$ENV{HOME}/.cache/mledge/libtorch-2.13.0-cpu")
endif()
list(APPEND _mledge_libtorch_candidates /usr)

# A path that somebody named wins or fails; it is never passed over in silence.
foreach(_named "${MLEDGE_LIBTORCH}" "$ENV{MLEDGE_LIBTORCH}")
  if(_named AND NOT EXISTS "${_named}/include/torch/csrc/api/include/torch/torch.h")
    message(FATAL_ERROR "MLEDGE_LIBTORCH=${_named} holds no include/torch/csrc/api/include/torch/torch.h: "
                        "name the folder that contains LibTorch's include/ and lib/")
  endif()
endforeach()

unset(LibTorch_ROOT_DIR)
foreach(_root ${_mledge_libtorch_candidates})
  if(_root AND EXISTS "${_root}/include/torch/csrc/api/include/torch/torch.h")
    set(LibTorch_ROOT_DIR "${_root}")
    break()
  endif()
endforeach()

unset(_mledge_libtorch_lib)
foreach(_dir "${LibTorch_ROOT_DIR}/lib" "${LibTorch_ROOT_DIR}/lib/${CMAKE_LIBRARY_ARCHITECTURE}"
             "/usr/lib/x86_64-linux-gnu" "/usr/lib/aarch64-linux-gnu")
  if(NOT _mledge_libtorch_lib AND LibTorch_ROOT_DIR AND EXISTS "${_dir}/libtorch_cpu.so")
    set(_mledge_libtorch_lib "${_dir}")
  endif()
endforeach()

if(LibTorch_ROOT_DIR)
  set(_version_header "${LibTorch_ROOT_DIR}/include/torch/headeronly/version.h")
  if(NOT EXISTS "${_version_header}")
    set(_version_header "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include/torch/version.h")
  endif()
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS "${_version_header}" _line REGEX "define TORCH_VERSION_${_part} +[0-9]+")
    string(REGEX MATCH "[0-9]+" _version_${_part} "${_line}")
  endforeach()
  set(LibTorch_VERSION "${_version_MAJOR}.${_version_MINOR}.${_version_PATCH}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_ROOT_DIR _mledge_libtorch_lib VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run scripts/install-deps, or set MLEDGE_LIBTORCH to a folder with include/ and lib/")

if(LibTorch_FOUND AND NOT TARGET mledge::libtorch)
  add_library(mledge::libtorch INTERFACE IMPORTED GLOBAL)
  target_include_directories(mledge::libtorch SYSTEM INTERFACE
    "${LibTorch_ROOT_DIR}/include" "${LibTorch_ROOT_DIR}/include/torch/csrc/api/include")
  target_link_libraries(mledge::libtorch INTERFACE
    -Wl,--no-as-needed "${_mledge_libtorch_lib}/libtorch_cpu.so" -Wl,--as-needed "${_mledge_libtorch_lib}/libc10.so")
  target_link_options(mledge::libtorch INTERFACE "-Wl,-rpath,${_mledge_libtorch_lib}")
endif()
