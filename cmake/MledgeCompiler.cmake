# Language level, warnings, sanitizers, ccache: what holds for every target.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

find_program(MLEDGE_CCACHE ccache)
if(MLEDGE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # sloppiness: precompiled headers carry time stamps that ccache would otherwise refuse to trust.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${MLEDGE_CCACHE})
endif()

# Equal bits: no contraction into fused multiply-add, no fast-math, on any compiler.
add_compile_options(-ffp-contract=off -fno-fast-math)
add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
endif()
if(MLEDGE_WARNINGS_AS_ERRORS)
  add_compile_options(-Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 warns of impossible overlaps inside std::string (GCC bug 105329).
    add_compile_options(-Wno-error=restrict)
  endif()
endif()

if(MLEDGE_SANITIZE)
  add_compile_options(-fsanitize=${MLEDGE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MLEDGE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND MLEDGE_SANITIZE MATCHES "undefined")
    # A fifth of what g++ takes to compile a test, for what AddressSanitizer stops at by itself (null pointers, what lies
    # outside an object) and for casts down, of which there are hardly any. The fuzz targets keep them.
    add_compile_options(-fno-sanitize=null,object-size,vptr)
  endif()
endif()

# The fuzz targets are guided by coverage of the code that they call.
if(MLEDGE_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
