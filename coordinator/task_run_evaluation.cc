// Which versions are evaluated, and by whom.
#include <string>

#include "mledge/coordinator/task_run.h"
#include "mledge/core/training_random.h"

namespace mledge {

bool TaskRun::EvaluationIsDue(VersionNumber version) const {
  return plan_.EvaluationIsDue(version) ||
         (plan_.evaluate_every > 0 && version == record_.version &&
          version.value() > 0 && RoundsAreDone());
}

void TaskRun::HandOutEvaluations(absl::Time now, Effects& effects) {
  // The oldest version first.
  for (const auto& evaluation : evaluations_) {
    if (!plan_.evaluate_on_devices) {
      for (auto it = evaluators_.begin();
           it != evaluators_.end() && evaluation->wanted() > 0;) {
        if (evaluation->Assign(now, *it, AssignmentOrdinal(0)).ok()) {
          it = evaluators_.erase(it);
        } else {
          ++it;
        }
      }
    } else if (evaluation->wanted() > 0) {
      const TrainingRandom random(
          {.task_seed = plan_.seed,
           .device = std::to_string(evaluation->asked().size()),
           .ordinal = evaluation->plan().version.value(),
           .purpose = "evaluation"});
      for (const CandidatePool::Candidate& candidate : candidates_.DrawWithout(
               evaluation->wanted(), random, evaluation->asked())) {
        evaluation->Assign(now, candidate.device, candidate.next_ordinal)
            .IgnoreError();  // drawn from those not asked
      }
      for (auto it = benched_.begin();
           it != benched_.end() && evaluation->wanted() > 0;) {
        const CandidatePool::Candidate& candidate = it->second.candidate;
        if (evaluation->Assign(now, candidate.device, candidate.next_ordinal)
                .ok()) {
          it = benched_.erase(it);
        } else {
          ++it;
        }
      }
    }
    TakeChanges(evaluation->TakeChanges(), effects);
  }
}

EvaluationSession* TaskRun::FindEvaluation(const AssignmentId& id) {
  for (const auto& evaluation : evaluations_) {
    if (evaluation->Find(id) != nullptr) return evaluation.get();
  }
  return nullptr;
}

EvaluationSession* TaskRun::FindEvaluation(VersionNumber version) {
  for (const auto& evaluation : evaluations_) {
    if (evaluation->plan().version == version) return evaluation.get();
  }
  return nullptr;
}

}  // namespace mledge
