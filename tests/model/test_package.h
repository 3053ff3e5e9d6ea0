#ifndef MLEDGE_TESTS_MODEL_TEST_PACKAGE_H_
#define MLEDGE_TESTS_MODEL_TEST_PACKAGE_H_

#include <cstring>
#include <string>
#include <string_view>

#include "mledge/core/parameters.h"
#include "mledge/model/package.h"

// A sound package without a model behind it, small enough to alter every byte
// of its file.

namespace mledge {

inline ModelPackage MakeTestPackage() {
  ModelPackage package;
  package.name = "tiny";
  package.layout =
      ParameterLayout::Create(
          {{.name = "fc.weight", .shape = {3, 2}},
           {.name = "fc.bias", .shape = {3}},
           {.name = "norm.mean",
            .shape = {2},
            .role = ParameterRole::kAveragedBuffer},
           {.name = "norm.count",
            .element_type = ElementType::kInt64,
            .role = ParameterRole::kLocalBuffer},
           {.name = "tied.weight", .shape = {3, 2}, .alias_of = "fc.weight"}})
          .value();
  package.code = "TorchScript would stand here";
  package.initial_parameters = ParameterVector(package.layout);
  float value = -1.0f;
  for (float& parameter : package.initial_parameters.values()) {
    parameter = value += 0.25f;
  }
  package.input = {.shape = {2}};
  package.output = {.shape = {3}};
  package.channels_last = true;
  return package;
}

}  // namespace mledge

#endif  // MLEDGE_TESTS_MODEL_TEST_PACKAGE_H_
