#include "mledge/core/version.h"

#include <google/protobuf/stubs/common.h>
#include <link.h>
#include <openssl/crypto.h>

#include <iostream>
#include <string>
#include <string_view>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "mledge/cli/verbs.h"
#include "mledge/model/torch/torch_runtime.h"

namespace mledge {
namespace {

// Keeps the folder that LibTorch was loaded from: which one a machine takes is
// decided when the program starts, not when it is built.
int FindLibTorch(dl_phdr_info* info, size_t, void* folder) {
  const std::string_view path = info->dlpi_name;
  const size_t name = path.find("/libtorch_cpu.so");
  if (name == std::string_view::npos) return 0;
  *static_cast<std::string*>(folder) = path.substr(0, name);
  return 1;
}

absl::Status PrintVersion() {
  const BuildInfo build = GetBuildInfo();
  std::string folder;
  dl_iterate_phdr(FindLibTorch, &folder);
  std::cout << "mledge    " << build.version << " (" << build.build_type
            << ")\n"
            << "compiler  " << build.compiler << "\n"
            << "runtime   " << TorchVersion() << ", from " << folder << "\n"
            << "CPU       " << CpuKind() << "\n"
            << "OpenSSL   " << OpenSSL_version(OPENSSL_VERSION_STRING) << "\n"
            << "Protobuf  "
            << google::protobuf::internal::VersionString(
                   GOOGLE_PROTOBUF_VERSION)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace

void RegisterVersion(CLI::App& app, ChosenVerb& chosen) {
  chosen.On(
      app.add_subcommand("version", "Shows what this program was built from"),
      PrintVersion);
}

}  // namespace mledge
