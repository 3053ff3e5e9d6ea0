# One target per module, one include directory per target.
#
# Each target's only include directory holds a single link, mledge/<folder> -> the source folder. A file can
# therefore include "mledge/<module>/..." only of modules that its target names under PUBLIC_DEPS or PRIVATE_DEPS
# (or that those export): an arrow that nobody declared does not compile.

include(MledgeTestGroups)
set_property(GLOBAL PROPERTY MLEDGE_LIBRARIES "")

# mledge_library(client_torch [HEADER_ONLY] [LIBTORCH] SOURCES a.cc ... [PUBLIC_DEPS ...] [PRIVATE_DEPS ...])
# The target is mledge_<name>, alias mledge::<name>; the folder is the one that the call stands in.
# LIBTORCH: links mledge::libtorch privately and precompiles its headers.
function(mledge_library name)
  cmake_parse_arguments(ARG "HEADER_ONLY;LIBTORCH" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "mledge_library(${name}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  set(target mledge_${name})
  file(RELATIVE_PATH folder "${PROJECT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")
  _mledge_link_folder(${target} "${folder}" include_dir)
  if(ARG_HEADER_ONLY)
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
  else()
    set(scope PUBLIC)
    add_library(${target} STATIC ${ARG_SOURCES})
    target_link_libraries(${target} PRIVATE ${ARG_PRIVATE_DEPS})
  endif()
  add_library(mledge::${name} ALIAS ${target})
  target_include_directories(${target} ${scope} "$<BUILD_INTERFACE:${include_dir}>"
                             "$<INSTALL_INTERFACE:include/mledge-modules/${name}>")
  target_link_libraries(${target} ${scope} ${ARG_PUBLIC_DEPS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} MLEDGE_FOLDER "${folder}")
  if(ARG_LIBTORCH)
    _mledge_use_libtorch(${target})
  endif()
  set_property(GLOBAL APPEND PROPERTY MLEDGE_LIBRARIES ${name})
endfunction()

# mledge_executable(mledge-device SOURCES ... DEPS ...): a program, installed into bin/.
function(mledge_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# mledge_test(core/parameters LABEL unit SOURCES ... DEPS ... [LIBTORCH] [TIMEOUT seconds] [SHARDS n])
# Label: unit, property, statistical, fault or integration. One ctest entry per program; with SHARDS n
# (at least 2) as many, which share its tests and can run side by side.
function(mledge_test name)
  cmake_parse_arguments(ARG "LIBTORCH" "LABEL;TIMEOUT;SHARDS" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_LABEL MATCHES "^(unit|property|statistical|fault|integration)$")
    message(FATAL_ERROR "mledge_test(${name}): LABEL must be unit, property, statistical, fault or integration")
  endif()
  string(REPLACE "/" "_" target "${name}_test")
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_DEPS} mledge::test_support GTest::gmock GTest::gtest_main)
  if(ARG_LIBTORCH)
    _mledge_use_libtorch(${target})
  endif()
  _mledge_group_test(${target} ${ARG_LABEL} labels)
  # gRPC's users are compiled with -pthread, and a precompiled header must be compiled as they are.
  if(NOT ARG_LIBTORCH AND NOT "grpc" IN_LIST labels)
    _mledge_precompile(${target} mledge_test_pch GTest::gmock "${MLEDGE_TEST_HEADERS}" ${MLEDGE_TEST_OPTIONS})
    target_compile_options(${target} PRIVATE ${MLEDGE_TEST_OPTIONS})
  endif()
  # Each test stands for itself: the product's sources are what is compiled by the batch (CMAKE_UNITY_BUILD).
  set_target_properties(${target} PROPERTIES UNITY_BUILD OFF RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests/bin")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(MLEDGE_SANITIZE)
    # Up to ten times slower; a test that hangs is still found.
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
  endif()
  set(environment
      "MLEDGE_BIN_DIR=${PROJECT_BINARY_DIR}/bin"
      "MLEDGE_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
      "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan_suppressions.txt")
  set(entries ${name})
  if(ARG_SHARDS)
    list(TRANSFORM entries APPEND "_1")
    foreach(shard RANGE 2 ${ARG_SHARDS})
      list(APPEND entries ${name}_${shard})
    endforeach()
  endif()
  set(shard 0)
  foreach(entry IN LISTS entries)
    add_test(NAME ${entry} COMMAND ${target} WORKING_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    set(sharding "")
    if(ARG_SHARDS)
      set(sharding "GTEST_TOTAL_SHARDS=${ARG_SHARDS}" "GTEST_SHARD_INDEX=${shard}")
      math(EXPR shard "${shard} + 1")
    endif()
    set_tests_properties(${entry} PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT}
                         ENVIRONMENT "${environment};${sharding}")
  endforeach()
endfunction()

function(_mledge_link_folder target folder out_include_dir)
  set(include_dir "${PROJECT_BINARY_DIR}/include/${target}")
  get_filename_component(parent "${include_dir}/mledge/${folder}" DIRECTORY)
  file(MAKE_DIRECTORY "${parent}")
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${folder}" "${include_dir}/mledge/${folder}" SYMBOLIC)
  set(${out_include_dir} "${include_dir}" PARENT_SCOPE)
endfunction()

# LibTorch's headers cost some fifteen seconds a file: one precompiled header serves every target that uses them.
function(_mledge_use_libtorch target)
  target_link_libraries(${target} PRIVATE mledge::libtorch)
  _mledge_precompile(${target} mledge_libtorch_pch mledge::libtorch "<torch/script.h>;<torch/torch.h>")
endfunction()

# What nearly every test includes; a third of what it takes to compile one.
set(MLEDGE_TEST_HEADERS <gmock/gmock.h> <gtest/gtest.h> <functional> <map> <memory> <optional> <string> <vector>
    "<absl/status/statusor.h>" "<absl/strings/str_cat.h>" "<absl/time/time.h>")

# A fifth less to compile; what takes time when a test runs is the product.
set(MLEDGE_TEST_OPTIONS $<$<CONFIG:Release>:-O1>)

# Lets `target` use the precompiled `headers` of `library`, held by the target `pch`, which is made on first use,
# compiled with the options that may follow.
function(_mledge_precompile target pch library headers)
  if(NOT TARGET ${pch})
    file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/${pch}.cc" CONTENT "// Compiles headers once.\n")
    add_library(${pch} OBJECT "${PROJECT_BINARY_DIR}/${pch}.cc")
    target_link_libraries(${pch} PRIVATE ${library} Threads::Threads)
    set_target_properties(${pch} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${pch} PRIVATE -fPIC ${ARGN})
    target_precompile_headers(${pch} PRIVATE ${headers})
  endif()
  target_link_libraries(${target} PRIVATE Threads::Threads)
  # A precompiled header is taken only by files with the same code-model flags.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
  target_precompile_headers(${target} REUSE_FROM ${pch})
endfunction()
