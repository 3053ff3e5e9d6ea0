#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mledge/aggregation/aggregator.h"
#include "mledge/aggregation/server_optimizer.h"
#include "mledge/aggregation/update_file.h"
#include "mledge/client/torch/internal/trainer_snapshot.h"
#include "mledge/core/logging.h"
#include "mledge/core/sha256.h"
#include "mledge/core/update.h"

// Bytes from a disk as what a process saved of itself: the running sum, the
// optimizer's moments, a paused training. As they are, and as the content of a
// frame whose SHA-256 is right, which is what reaches the fields behind it.
// What is accepted must be written again as the same bytes, and can be used.

namespace mledge {
namespace {

std::string WithHash(std::string body) {
  return body + Sha256Of(std::string_view(body)).ToBytes();
}

// `sound` with its content from byte `head` on replaced, as far as there are
// bytes for it.
std::string Reframe(std::string sound, size_t head, std::string_view content) {
  sound.resize(sound.size() - sizeof(Digest::bytes));
  content = content.substr(0, sound.size() - head);
  return WithHash(sound.replace(head, content.size(), content));
}

// Magic and what the state belongs to (aggregation/internal/sealed_state.h).
constexpr size_t kSealedHead = 8 + sizeof(Digest::bytes);
// Magic and version.
constexpr size_t kSnapshotHead = 8 + 4;

const std::shared_ptr<const ParameterLayout>& Layout() {
  static const auto& layout = *new std::shared_ptr<const ParameterLayout>(
      ParameterLayout::Create({{.name = "w", .shape = {3}},
                               {.name = "mean",
                                .shape = {2},
                                .role = ParameterRole::kAveragedBuffer}})
          .value());
  return layout;
}

AggregationSpec Spec() {
  return TrainingAggregationSpec(Layout()->shared_size(), 16, 1000, false, 8);
}

Update SomeUpdate() {
  Update update;
  update.sections.push_back(
      {std::string(kDeltaSection), AlignedFloats(Layout()->shared_size())});
  for (const std::string& name : Spec().scalars) {
    update.scalars.push_back({name, 1});
  }
  update.weight = 2;
  return update;
}

void CheckAggregator(std::string_view bytes) {
  auto sum = *Aggregator::Create(Spec());
  if (!sum->Restore(bytes).ok()) return;
  CHECK(sum->Serialize() == bytes);
  const Update update = SomeUpdate();
  const UpdateView view = UpdateView::Of(update, {});
  const UpdateView* updates[] = {&view, &view};
  (void)sum->Fold(updates);
  auto optimizer = *ServerOptimizer::Create(ServerSgdOptions{}, Layout());
  ParameterVector parameters(Layout());
  (void)optimizer->Apply(sum->sum(), &parameters);
}

void CheckOptimizer(const ServerOptimizerOptions& options,
                    std::string_view bytes) {
  auto optimizer = *ServerOptimizer::Create(options, Layout());
  const std::string reframed =
      Reframe(optimizer->Serialize(), kSealedHead, bytes);
  for (const std::string_view state : {bytes, std::string_view(reframed)}) {
    if (!optimizer->Restore(state).ok()) continue;
    CHECK(optimizer->Serialize() == state);
    auto sum = *Aggregator::Create(Spec());
    const Update update = SomeUpdate();
    const UpdateView view = UpdateView::Of(update, {});
    const UpdateView* updates[] = {&view};
    CHECK(sum->Fold(updates).ok());
    ParameterVector parameters(Layout());
    (void)optimizer->Apply(sum->sum(), &parameters);
  }
}

void CheckSnapshot(std::string_view bytes) {
  const absl::StatusOr<TrainerState> state = ParseTrainerState(bytes);
  if (state.ok()) CHECK(SerializeTrainerState(*state) == bytes);
}

void FuzzOne(std::string_view bytes) {
  CheckAggregator(bytes);
  CheckAggregator(
      Reframe((*Aggregator::Create(Spec()))->Serialize(), kSealedHead, bytes));
  CheckOptimizer(ServerSgdOptions{.momentum = 0.5}, bytes);
  CheckOptimizer(ServerAdamOptions{.learning_rate = 0.1}, bytes);
  CheckSnapshot(bytes);
  static const std::string* const kSnapshot =
      new std::string(SerializeTrainerState({}));
  CheckSnapshot(
      WithHash(kSnapshot->substr(0, kSnapshotHead) + std::string(bytes)));
}

}  // namespace
}  // namespace mledge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mledge::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
