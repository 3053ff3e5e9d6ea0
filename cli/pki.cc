#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/identity.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/identity/witness_key.h"
#include "mledge/v1/signature.pb.h"
#include "mledge/v1/witness.pb.h"

namespace mledge {
namespace {

absl::Duration Days(int64_t days) { return absl::Hours(24) * days; }

std::string Date(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

struct InitOptions {
  std::string directory;
  std::string name = "mledge";
  std::vector<std::string> operators = {"operator"};
  std::vector<std::string> coordinators = {"coordinator"};
  int64_t root_days = 3650;
  int64_t registrar_days = 1825;
};

absl::Status Init(const InitOptions& options) {
  MLEDGE_RETURN_IF_ERROR(InitializePki(
      options.directory, {.name = options.name,
                          .now = absl::Now(),
                          .root_validity = Days(options.root_days),
                          .registrar_validity = Days(options.registrar_days),
                          .operators = options.operators,
                          .coordinators = options.coordinators}));
  std::cout
      << "Wrote a new PKI into " << options.directory << ":\n"
      << "  root.crt, root.key            valid for " << options.root_days
      << " days; everybody trusts root.crt\n"
      << "  registrar.crt, registrar.key  valid for " << options.registrar_days
      << " days; issues all other certificates\n"
      << "  witness.key, witness.pub      the registrar witnesses sessions and "
         "versions; everybody pins witness.pub\n"
      << "  registrar.yaml                configuration of mledge-registrar\n"
      << "Keep root.key offline: it is needed only to replace the registrar.\n"
      << "The coordinator's machine gets none of these keys: run "
         "`mledge-registrar "
      << options.directory << "/registrar.yaml` elsewhere.\n"
      << "Next: mledge pki issue " << options.directory
      << " --role coordinator --id " << options.coordinators.front()
      << " --host NAME" << std::endl;
  return absl::OkStatus();
}

struct IssueArguments {
  std::string directory;
  std::string role;
  std::string id;
  std::string id_prefix;
  int64_t count = 0;
  std::string output;
  std::vector<std::string> hosts;
  std::string csr;
  int64_t days = 0;
};

// The ids that are asked for: one, or a numbered series.
absl::StatusOr<std::vector<std::string>> RequestedIds(
    const IssueArguments& arguments) {
  if (arguments.count == 0) {
    if (arguments.id.empty()) {
      return absl::InvalidArgumentError(
          "name whom the certificate is for: --id ID, or --count N with "
          "--id-prefix PREFIX for a series");
    }
    return std::vector<std::string>{arguments.id};
  }
  if (!arguments.id.empty() || !arguments.csr.empty() ||
      arguments.id_prefix.empty()) {
    return absl::InvalidArgumentError(
        "--count makes a series: it needs --id-prefix and goes with neither "
        "--id nor --csr");
  }
  std::vector<std::string> ids;
  for (int64_t i = 0; i < arguments.count; ++i) {
    ids.push_back(StrCat(arguments.id_prefix, i));
  }
  return ids;
}

absl::Status Issue(const IssueArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const Role role, ParseRole(arguments.role));
  MLEDGE_ASSIGN_OR_RETURN(const std::vector<std::string> ids,
                          RequestedIds(arguments));
  std::optional<std::string> csr;
  if (!arguments.csr.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(csr, ReadFile(arguments.csr, kMaximumPemBytes));
  }
  for (const std::string& id : ids) {
    // In a series, --out is the folder of the folders.
    const std::string output =
        arguments.count == 0 || arguments.output.empty()
            ? arguments.output
            : StrCat(arguments.output, "/", arguments.role, "-", id);
    MLEDGE_ASSIGN_OR_RETURN(
        const IssuedIdentity issued,
        IssueIdentity(arguments.directory, {.identity = {role, id},
                                            .hosts = arguments.hosts,
                                            .now = absl::Now(),
                                            .validity = Days(arguments.days),
                                            .output_directory = output,
                                            .csr_pem = csr}));
    std::cout << "Issued " << Identity{role, id} << ", valid until "
              << Date(issued.certificate.not_after());
    const std::vector<std::string> hosts = issued.certificate.hosts();
    for (size_t i = 0; i < hosts.size(); ++i) {
      std::cout << (i == 0 ? ", for " : ", ") << hosts[i];
    }
    std::cout << ": " << issued.directory << "\n";
  }
  if (csr.has_value()) {
    std::cout << "The private key stays where the request was made.\n";
  }
  std::cout.flush();
  return absl::OkStatus();
}

struct RequestArguments {
  std::string directory;
  std::string role;
  std::string id;
};

absl::Status Request(const RequestArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const Role role, ParseRole(arguments.role));
  MLEDGE_RETURN_IF_ERROR(
      RequestIdentity(arguments.directory, {role, arguments.id}));
  std::cout
      << "Wrote " << arguments.directory
      << "/private_key.pem, which stays here, and request.csr.\n"
      << "Next, where the registrar's key is: mledge pki issue PKI --role "
      << arguments.role << " --id " << arguments.id
      << " --csr request.csr --out FOLDER\n"
      << "Then put certificate.pem and root.pem beside the key." << std::endl;
  return absl::OkStatus();
}

// A saved revocation list, or nothing. Nobody's signature is checked: for that
// see `mledge pki revocations`.
bool ShowRevocationList(const std::string& bytes) {
  v1::SignedMessage message;
  v1::RevocationList list;
  if (!message.ParseFromString(bytes) ||
      message.context() != kRevocationListContext ||
      !list.ParseFromString(message.payload())) {
    return false;
  }
  std::cout << "  revocation list " << list.number() << " (not verified)\n"
            << "    counts from  "
            << Date(absl::FromUnixMillis(list.issued_unix_milliseconds()))
            << " to "
            << Date(absl::FromUnixMillis(list.fresh_until_unix_milliseconds()))
            << "\n";
  for (const std::string& serial : list.serials()) {
    std::cout << "    serial       " << absl::BytesToHexString(serial) << "\n";
  }
  for (const std::string& identity : list.identities()) {
    std::cout << "    identity     " << identity << "\n";
  }
  return true;
}

absl::Status Show(const std::vector<std::string>& paths) {
  const absl::Time now = absl::Now();
  for (const std::string& path : paths) {
    MLEDGE_ASSIGN_OR_RETURN(const std::string pem,
                            ReadFile(path, kMaximumPemBytes));
    const absl::StatusOr<std::vector<Certificate>> chain = ParsePemChain(pem);
    std::cout << path << "\n";
    if (!chain.ok()) {
      const absl::StatusOr<WitnessPublicKey> witness =
          WitnessPublicKey::FromHex(ToStdView(absl::StripAsciiWhitespace(pem)));
      if (witness.ok()) {
        std::cout << "  witness key (Ed25519)\n    witness_key  "
                  << witness->ToHex() << "\n";
        continue;
      }
      if (ShowRevocationList(pem)) continue;
      return Annotate(chain.status(), path);
    }
    for (const Certificate& certificate : *chain) {
      const absl::StatusOr<Identity> identity = certificate.identity();
      const char* state = now < certificate.not_before()  ? " (NOT YET VALID)"
                          : now > certificate.not_after() ? " (EXPIRED)"
                                                          : "";
      std::cout << "  "
                << (identity.ok() ? identity->ToString() : "no mledge identity")
                << (certificate.can_issue() ? ", may issue" : "") << "\n"
                << "    subject      " << certificate.subject() << "\n"
                << "    issuer       " << certificate.issuer() << "\n"
                << "    valid        " << Date(certificate.not_before())
                << " to " << Date(certificate.not_after()) << state << "\n";
      for (const std::string& host : certificate.hosts()) {
        std::cout << "    host         " << host << "\n";
      }
      std::cout << "    serial       " << certificate.serial() << "\n"
                << "    fingerprint  SHA-256 "
                << certificate.fingerprint().ToHex() << "\n";
    }
  }
  std::cout.flush();
  return absl::OkStatus();
}

void RegisterInit(CLI::App& pki, ChosenVerb& chosen) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* init = pki.add_subcommand(
      "init", "Makes a root and a registrar in a new folder");
  init->add_option("DIR", options->directory, "Folder, created where missing")
      ->required();
  init->add_option("--name", options->name, "Name of this PKI")
      ->capture_default_str();
  init->add_option("--operator", options->operators,
                   "Who may issue and revoke through the registrar; repeat "
                   "for several")
      ->capture_default_str();
  init->add_option("--coordinator", options->coordinators,
                   "For whom the registrar witnesses; repeat for several")
      ->capture_default_str();
  init->add_option("--days", options->root_days, "Validity of the root")
      ->capture_default_str();
  init->add_option("--registrar-days", options->registrar_days,
                   "Validity of the registrar (never beyond the root's)")
      ->capture_default_str();
  chosen.On(init, [options] { return Init(*options); });
}

void RegisterIssue(CLI::App& pki, ChosenVerb& chosen) {
  auto arguments = std::make_shared<IssueArguments>();
  CLI::App* issue =
      pki.add_subcommand("issue", "Issues a certificate, or a series of them");
  issue->add_option("DIR", arguments->directory, "Folder of the PKI")
      ->required();
  issue
      ->add_option("--role", arguments->role,
                   "coordinator, operator, model-signer, evaluator or device")
      ->required();
  issue->add_option("--id", arguments->id, "Whom it is for");
  issue
      ->add_option("--count", arguments->count,
                   "Issue so many, numbered from 0")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000}));
  issue->add_option("--id-prefix", arguments->id_prefix,
                    "What the ids of a series start with, e.g. device-");
  issue->add_option("--out", arguments->output,
                    "Where to write (default: DIR/<role>-<id>)");
  issue->add_option("--host", arguments->hosts,
                    "Name or address under which a coordinator is reached; "
                    "repeat for several (default: this machine only)");
  issue->add_option("--csr", arguments->csr,
                    "Signing request, where the private key stays elsewhere");
  issue
      ->add_option("--days", arguments->days,
                   "Validity (default: device 90, model-signer 730, others "
                   "365)")
      ->check(CLI::Range(int64_t{1}, int64_t{36500}));
  chosen.On(issue, [arguments] { return Issue(*arguments); });
}

void RegisterRequest(CLI::App& pki, ChosenVerb& chosen) {
  auto arguments = std::make_shared<RequestArguments>();
  CLI::App* request = pki.add_subcommand(
      "request", "Makes a key and a signing request on the device itself");
  request->add_option("DIR", arguments->directory, "Where to write")
      ->required();
  request->add_option("--role", arguments->role, "As for issue")->required();
  request->add_option("--id", arguments->id, "Who this is")->required();
  chosen.On(request, [arguments] { return Request(*arguments); });
}

}  // namespace

void RegisterPki(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* pki =
      app.add_subcommand("pki", "Certificates: who may take part, and as what");
  pki->require_subcommand(1);
  RegisterInit(*pki, chosen);
  RegisterRequest(*pki, chosen);
  RegisterIssue(*pki, chosen);
  auto paths = std::make_shared<std::vector<std::string>>();
  CLI::App* show = pki->add_subcommand(
      "show", "Shows what certificates, witness keys and revocation lists say");
  show->add_option("FILE", *paths,
                   "PEM files, witness.pub, saved revocation lists")
      ->required();
  chosen.On(show, [paths] { return Show(*paths); });
}

}  // namespace mledge
