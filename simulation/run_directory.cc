#include "mledge/simulation/run_directory.h"

#include <bit>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "mledge/client/compressed_file.h"
#include "mledge/coordinator/task_state_name.h"
#include "mledge/core/file.h"
#include "mledge/core/sha256.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/core/version.h"
#include "mledge/model/package_file.h"
#include "mledge/simulation/internal/throwaway_signers.h"
#include "mledge/simulation/partition_files.h"
#include "mledge/task/task_file.h"
#include "nlohmann/json.hpp"

namespace mledge {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kManifest[] = "manifest.json";
constexpr char kMetrics[] = "metrics.jsonl";
constexpr char kParameters[] = "parameters.f32";
constexpr char kPackage[] = "model.mledge";

absl::Status AddFile(std::string_view role, const std::string& named,
                     Json* files) {
  if (named.empty()) return absl::OkStatus();
  const std::string path = FindMaybeGzippedFile(named);
  MLEDGE_ASSIGN_OR_RETURN(const std::string bytes,
                          ReadFile(path, kMaximumDataFileBytes));
  files->push_back({{"role", role},
                    {"path", path},
                    {"size_in_bytes", bytes.size()},
                    {"sha256", Sha256Of(bytes).ToHex()}});
  return absl::OkStatus();
}

absl::Status AddSource(std::string_view role, const v1::DataSource& source,
                       Json* files) {
  MLEDGE_RETURN_IF_ERROR(AddFile(role, source.idx().images(), files));
  MLEDGE_RETURN_IF_ERROR(AddFile(role, source.idx().labels(), files));
  MLEDGE_RETURN_IF_ERROR(AddFile(role, source.csv().file(), files));
  return AddFile(role, source.index_file(), files);
}

Json ToJson(const CanaryAuditReport& audit) {
  return {{"canaries", audit.canaries},
          {"took_part", audit.took_part},
          {"guesses", audit.guesses},
          {"correct", audit.correct},
          {"epsilon_lower_bound", audit.epsilon_lower_bound},
          {"confidence", audit.confidence},
          {"claimed_epsilon", audit.claim.epsilon()},
          {"delta", audit.claim.delta()},
          {"accountant", audit.claim.accountant()},
          {"observer", "model-recipients"},
          {"unit", audit.claim.unit()},
          {"adjacency", "zero-out"},
          {"contradicts_claim", audit.contradicts_claim()}};
}

Json Optional(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

}  // namespace

struct RunDirectory::MetricsFile {
  std::ofstream stream;
};

std::string MetricsLine(const RoundMetrics& round,
                        std::string_view metric_name) {
  Json line = {
      {"round", round.round},
      {"version", round.version},
      {"virtual_seconds", round.virtual_seconds},
      {"wall_seconds", round.wall_seconds},
      {"training_loss", Optional(round.training_loss)},
      {StrCat("training_", metric_name), Optional(round.training_metric)},
      {"evaluation_loss", Optional(round.evaluation_loss)},
      {StrCat("evaluation_", metric_name), Optional(round.evaluation_metric)},
      {"evaluation_skipped", round.evaluation_skipped},
      {"examples", round.examples},
      {"assigned", round.assigned},
      {"devices", round.devices},
      {"failures", round.failures},
      {"attempts", round.attempts},
      {"bytes_up", round.bytes_up},
      {"bytes_down", round.bytes_down}};
  if (round.audit_epsilon_lower_bound.has_value()) {
    line["audit_epsilon_lower_bound"] = *round.audit_epsilon_lower_bound;
  }
  return line.dump();
}

RunDirectory::RunDirectory(std::string path,
                           std::unique_ptr<MetricsFile> metrics)
    : path_(std::move(path)), metrics_(std::move(metrics)) {}
RunDirectory::~RunDirectory() = default;

absl::StatusOr<std::unique_ptr<RunDirectory>> RunDirectory::Create(
    const std::string& path) {
  MLEDGE_RETURN_IF_ERROR(EnsureWritableDirectory(path));
  for (const char* name : {kManifest, kMetrics}) {
    const std::string file = StrCat(path, "/", name);
    std::error_code ignored;
    if (std::filesystem::exists(file, ignored)) {
      return absl::AlreadyExistsError(
          StrCat(file,
                 " is there already, from another run; name another "
                 "folder, or remove this one"));
    }
  }
  auto metrics = std::make_unique<MetricsFile>();
  const std::string file = StrCat(path, "/", kMetrics);
  metrics->stream.open(file, std::ios::binary);
  if (!metrics->stream) {
    return ErrnoToStatus(errno, "cannot create", file);
  }
  return std::unique_ptr<RunDirectory>(
      new RunDirectory(path, std::move(metrics)));
}

absl::Status RunDirectory::Add(const RoundMetrics& round,
                               std::string_view metric_name) {
  metrics_->stream << MetricsLine(round, metric_name) << '\n' << std::flush;
  if (metrics_->stream) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      StrCat("cannot write ", path_, "/", kMetrics, ": is the disk full?"));
}

absl::Status RunDirectory::Finish(const RunDescription& description,
                                  const ModelPackage& package,
                                  const SimulationResult& result) {
  static_assert(std::endian::native == std::endian::little);
  const std::span<const float> values = result.parameters.values();
  MLEDGE_RETURN_IF_ERROR(WriteFileAtomically(
      StrCat(path_, "/", kParameters),
      {reinterpret_cast<const char*>(values.data()), values.size_bytes()}));

  ModelPackage trained = package;
  trained.initial_parameters = result.parameters;
  MLEDGE_ASSIGN_OR_RETURN(
      const simulation_internal::ThrowawaySigners signers,
      simulation_internal::MakeThrowawaySigners(absl::Now()));
  MLEDGE_ASSIGN_OR_RETURN(const std::string package_file,
                          SerializePackageFile(trained, signers.model_signer));
  MLEDGE_RETURN_IF_ERROR(
      WriteFileAtomically(StrCat(path_, "/", kPackage), package_file));

  Json files = Json::array();
  const v1::Simulation& simulation = description.task.simulation();
  MLEDGE_RETURN_IF_ERROR(
      AddSource("training_data", simulation.training_data(), &files));
  MLEDGE_RETURN_IF_ERROR(
      AddSource("test_data", simulation.test_data(), &files));

  const BuildInfo build = GetBuildInfo();
  Json manifest = {
      {"task",
       {{"file", description.task_file},
        {"overrides", description.overrides},
        {"as_given", description.task_text},
        {"as_validated", TaskToYaml(description.task)}}},
      {"seed", description.task.seed()},
      {"partition", DescribePartition(simulation.partition())},
      {"data", std::move(files)},
      {"versions",
       {{"mledge", build.version},
        {"build_type", build.build_type},
        {"compiler", build.compiler},
        {"training_library", description.training_library}}},
      {"cpu", description.cpu_kind},
      {"workers", description.workers},
      {"wire", description.wire},
      {"outcome", result.stopped ? "stopped" : TaskStateName(result.state)},
      {"reason", result.reason},
      {"rounds", result.rounds.empty() ? 0 : result.rounds.back().round},
      {"model_version", result.version},
      {"parameters_sha256", result.parameters_sha256.ToHex()},
      {"package_sha256", Sha256Of(package_file).ToHex()},
      {"wall_seconds", absl::ToDoubleSeconds(result.wall_time)},
      {"training_seconds", absl::ToDoubleSeconds(result.training_time)},
      {"virtual_seconds", absl::ToDoubleSeconds(result.virtual_time)},
      {"vanished_devices", result.vanished_devices}};
  if (result.audit.has_value()) {
    manifest["canary_audit"] = ToJson(*result.audit);
  }
  return WriteFileAtomically(StrCat(path_, "/", kManifest),
                             StrCat(manifest.dump(1), "\n"));
}

}  // namespace mledge
