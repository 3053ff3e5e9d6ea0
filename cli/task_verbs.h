#ifndef MLEDGE_CLI_TASK_VERBS_H_
#define MLEDGE_CLI_TASK_VERBS_H_

#include "CLI/App.hpp"
#include "mledge/cli/verbs.h"

// The longer verbs of `mledge task`, a file each.

namespace mledge {

void RegisterTaskSubmit(CLI::App* task, ChosenVerb& chosen);
void RegisterTaskWatch(CLI::App* task, ChosenVerb& chosen);
void RegisterTaskResult(CLI::App* task, ChosenVerb& chosen);

}  // namespace mledge

#endif  // MLEDGE_CLI_TASK_VERBS_H_
