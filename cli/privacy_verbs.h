#ifndef MLEDGE_CLI_PRIVACY_VERBS_H_
#define MLEDGE_CLI_PRIVACY_VERBS_H_

#include "mledge/cli/verbs.h"

// The verbs below `mledge privacy` that have a file of their own.

namespace mledge {

void RegisterPrivacyPlan(CLI::App* privacy, ChosenVerb& chosen);

}  // namespace mledge

#endif  // MLEDGE_CLI_PRIVACY_VERBS_H_
