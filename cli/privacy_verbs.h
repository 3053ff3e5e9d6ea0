#ifndef MLEDGE_CLI_PRIVACY_VERBS_H_
#define MLEDGE_CLI_PRIVACY_VERBS_H_

#include <string>

#include "mledge/cli/verbs.h"
#include "mledge/v1/privacy.pb.h"

// The verbs below `mledge privacy` that have a file of their own.

namespace mledge {

// Against whom a claim holds, in words; "?" for what a newer coordinator says.
std::string ObserverText(const v1::PrivacyClaim& claim);

void RegisterPrivacyPlan(CLI::App* privacy, ChosenVerb& chosen);

}  // namespace mledge

#endif  // MLEDGE_CLI_PRIVACY_VERBS_H_
