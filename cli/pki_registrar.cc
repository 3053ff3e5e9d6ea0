#include <array>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mledge/cli/verbs.h"
#include "mledge/core/file.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate_signing_request.h"
#include "mledge/identity/grpc/registrar_client.h"
#include "mledge/identity/pki_directory.h"
#include "mledge/identity/private_key.h"
#include "mledge/identity/revocation_list.h"
#include "mledge/identity/tls_identity.h"

namespace mledge {
namespace {

std::string Date(int64_t unix_milliseconds) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC",
                          absl::FromUnixMillis(unix_milliseconds),
                          absl::UTCTimeZone());
}

struct RegistrarConnection {
  std::string address;
  std::string name;
  std::string identity_directory;
};

void AddRegistrarOptions(CLI::App* verb, RegistrarConnection* connection) {
  verb->add_option("--registrar", connection->address,
                   "The registrar's HOST:PORT")
      ->envname("MLEDGE_REGISTRAR")
      ->required();
  verb->add_option("--registrar-name", connection->name,
                   "Name in the registrar's certificate (default: HOST)")
      ->envname("MLEDGE_REGISTRAR_NAME");
}

void AddIdentityOption(CLI::App* verb, RegistrarConnection* connection) {
  AddRegistrarOptions(verb, connection);
  verb->add_option("--identity", connection->identity_directory,
                   "The operator's folder, as `mledge pki issue` made it")
      ->envname("MLEDGE_IDENTITY")
      ->required();
}

absl::StatusOr<std::unique_ptr<RegistrarClient>> Connect(
    const RegistrarConnection& connection) {
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(IdentityFilesIn(connection.identity_directory), {},
                      absl::Now()));
  return RegistrarClient::Create(
      {.address = connection.address, .name = connection.name}, identity);
}

struct Whom {
  std::string role = "device";
  std::string id;
};

void AddWhom(CLI::App* verb, Whom* whom) {
  verb->add_option("--role", whom->role, "Of whom")->capture_default_str();
  verb->add_option("--id", whom->id, "Of whom");
}

absl::StatusOr<Identity> IdentityOf(const Whom& whom) {
  MLEDGE_ASSIGN_OR_RETURN(const Role role, ParseRole(whom.role));
  return Identity{role, whom.id};
}

struct RevokeArguments {
  RegistrarConnection connection;
  Whom whom;
  std::string serial;
  std::string reason;
};

absl::Status Revoke(const RevokeArguments& arguments) {
  if (arguments.serial.empty() == arguments.whom.id.empty()) {
    return absl::InvalidArgumentError(
        "name one certificate (--serial) or a device with all its "
        "certificates (--id), one of the two");
  }
  v1::RevokeRequest request;
  request.set_reason(arguments.reason);
  std::string what = StrCat("certificate ", arguments.serial);
  if (arguments.serial.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                            IdentityOf(arguments.whom));
    request.set_identity(identity.ToUri());
    what = StrCat("every certificate of ", identity.ToString(), ", for ever");
  } else {
    request.set_serial(arguments.serial);
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<RegistrarClient> client,
                          Connect(arguments.connection));
  MLEDGE_ASSIGN_OR_RETURN(const uint64_t number, client->Revoke(request));
  std::cout << "Revoked " << what << ": revocation list " << number
            << " and all later ones say so." << std::endl;
  return absl::OkStatus();
}

struct RevocationsArguments {
  RegistrarConnection connection;
  std::string output;
};

absl::Status Revocations(const RevocationsArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<RegistrarClient> client,
                          Connect(arguments.connection));
  MLEDGE_ASSIGN_OR_RETURN(const v1::SignedMessage message,
                          client->GetRevocationList());
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string root_pem,
      ReadFile(StrCat(arguments.connection.identity_directory, "/root.pem")));
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root, ParseRoot(root_pem));
  MLEDGE_ASSIGN_OR_RETURN(const RevocationList list,
                          RevocationList::Parse(message, root, absl::Now(), 0));
  MLEDGE_RETURN_IF_ERROR(list.CheckFresh(absl::Now()));
  std::cout << "Revocation list " << list.number() << ", signature good, from "
            << Date(absl::ToUnixMillis(list.issued())) << ", counts until "
            << Date(absl::ToUnixMillis(list.fresh_until())) << "\n";
  for (const std::string& serial : list.serials()) {
    std::cout << "  serial    " << serial << "\n";
  }
  for (const std::string& identity : list.identities()) {
    std::cout << "  identity  " << identity << "\n";
  }
  std::cout.flush();
  if (arguments.output.empty()) return absl::OkStatus();
  return WriteFileAtomically(arguments.output, message.SerializeAsString());
}

struct IssuedArguments {
  RegistrarConnection connection;
  Whom whom;
  bool all = false;
};

absl::Status Issued(const IssuedArguments& arguments) {
  v1::ListIssuedRequest request;
  request.set_include_expired(arguments.all);
  if (!arguments.whom.id.empty()) {
    MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                            IdentityOf(arguments.whom));
    request.set_identity(identity.ToUri());
  }
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<RegistrarClient> client,
                          Connect(arguments.connection));
  while (true) {
    MLEDGE_ASSIGN_OR_RETURN(const v1::ListIssuedResponse page,
                            client->ListIssued(request));
    for (const auto& entry : page.entries()) {
      std::cout << entry.serial() << "  " << entry.identity() << "  "
                << Date(entry.issued_unix_milliseconds()) << " to "
                << Date(entry.not_after_unix_milliseconds()) << "  by "
                << entry.issued_by() << (entry.revoked() ? "  REVOKED" : "")
                << "\n";
    }
    if (!page.more()) break;
    request.set_skip(request.skip() + page.entries_size());
  }
  std::cout.flush();
  return absl::OkStatus();
}

struct TokenArguments {
  RegistrarConnection connection;
  Whom whom;
  int64_t hours = 24;
};

absl::Status Token(const TokenArguments& arguments) {
  MLEDGE_ASSIGN_OR_RETURN(const Identity identity, IdentityOf(arguments.whom));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<RegistrarClient> client,
                          Connect(arguments.connection));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string token,
      client->CreateEnrollmentToken(
          identity, absl::Now() + absl::Hours(arguments.hours)));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string root_pem,
      ReadFile(StrCat(arguments.connection.identity_directory, "/root.pem")));
  MLEDGE_ASSIGN_OR_RETURN(const Certificate root, ParseRoot(root_pem));
  std::cout << "token             " << token << "\n"
            << "root fingerprint  " << root.fingerprint().ToHex() << "\n"
            << "Good once, for " << identity << ", within " << arguments.hours
            << " h. On the device:\n  mledge pki enroll DIR --registrar "
               "HOST:PORT --role "
            << arguments.whom.role << " --id " << arguments.whom.id
            << " --token TOKEN --root-fingerprint FINGERPRINT" << std::endl;
  return absl::OkStatus();
}

struct EnrollArguments {
  RegistrarConnection connection;
  Whom whom;
  std::string directory;
  std::string token;
  std::string fingerprint;
};

absl::Status Enroll(const EnrollArguments& arguments) {
  EnrollOptions options{.address = arguments.connection.address,
                        .name = arguments.connection.name,
                        .token = arguments.token};
  MLEDGE_ASSIGN_OR_RETURN(options.identity, IdentityOf(arguments.whom));
  MLEDGE_ASSIGN_OR_RETURN(options.root_fingerprint,
                          Digest::FromHex(arguments.fingerprint));
  // The request's file is made for people; the key is what counts.
  MLEDGE_RETURN_IF_ERROR(
      RequestIdentity(arguments.directory, options.identity));
  MLEDGE_ASSIGN_OR_RETURN(
      const PrivateKey key,
      LoadPrivateKey(StrCat(arguments.directory, "/private_key.pem")));
  MLEDGE_ASSIGN_OR_RETURN(const Enrolled enrolled,
                          EnrollWithToken(options, key));
  MLEDGE_RETURN_IF_ERROR(StoreIdentity(arguments.directory,
                                       enrolled.certificate_chain_pem,
                                       enrolled.root_pem, absl::Now()));
  std::cout << "Enrolled " << options.identity << ": " << arguments.directory
            << std::endl;
  return absl::OkStatus();
}

absl::Status Renew(const RegistrarConnection& connection) {
  MLEDGE_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      LoadTlsIdentity(IdentityFilesIn(connection.identity_directory), {},
                      absl::Now()));
  MLEDGE_ASSIGN_OR_RETURN(const PrivateKey key,
                          PrivateKey::FromPem(identity.private_key_pem));
  MLEDGE_ASSIGN_OR_RETURN(const std::unique_ptr<RegistrarClient> client,
                          Connect(connection));
  MLEDGE_ASSIGN_OR_RETURN(
      const std::string chain,
      client->IssueCertificate(
          CreateCertificateSigningRequest(key, identity.identity)));
  MLEDGE_RETURN_IF_ERROR(StoreIdentity(connection.identity_directory, chain,
                                       identity.root_pem, absl::Now()));
  MLEDGE_ASSIGN_OR_RETURN(
      const Certificate renewed,
      Certificate::FromPem(chain.substr(0, chain.find("-----BEGIN", 1))));
  std::cout << "Renewed " << identity.identity << ", valid until "
            << Date(absl::ToUnixMillis(renewed.not_after())) << std::endl;
  return absl::OkStatus();
}

}  // namespace

void RegisterPkiRegistrar(CLI::App& app, ChosenVerb& chosen) {
  CLI::App* pki = app.get_subcommand("pki");

  auto revoke_arguments = std::make_shared<RevokeArguments>();
  CLI::App* revoke = pki->add_subcommand(
      "revoke", "Revokes a certificate, or a device, through the registrar");
  AddIdentityOption(revoke, &revoke_arguments->connection);
  AddWhom(revoke, &revoke_arguments->whom);
  revoke->add_option("--serial", revoke_arguments->serial,
                     "One certificate, as `mledge pki show` prints it");
  revoke->add_option("--reason", revoke_arguments->reason, "For the record");
  chosen.On(revoke, [revoke_arguments] { return Revoke(*revoke_arguments); });

  auto list_arguments = std::make_shared<RevocationsArguments>();
  CLI::App* revocations = pki->add_subcommand(
      "revocations", "Fetches, verifies and shows the revocation list");
  AddIdentityOption(revocations, &list_arguments->connection);
  revocations->add_option("--out", list_arguments->output,
                          "Where to save it, signed as it is");
  chosen.On(revocations,
            [list_arguments] { return Revocations(*list_arguments); });

  auto issued_arguments = std::make_shared<IssuedArguments>();
  CLI::App* issued =
      pki->add_subcommand("issued", "Lists what the registrar has issued");
  AddIdentityOption(issued, &issued_arguments->connection);
  AddWhom(issued, &issued_arguments->whom);
  issued->add_flag("--all", issued_arguments->all, "Expired ones as well");
  chosen.On(issued, [issued_arguments] { return Issued(*issued_arguments); });

  auto token_arguments = std::make_shared<TokenArguments>();
  CLI::App* token = pki->add_subcommand(
      "token", "Makes a one-time token with which a device can enroll");
  AddIdentityOption(token, &token_arguments->connection);
  AddWhom(token, &token_arguments->whom);
  token->add_option("--hours", token_arguments->hours, "How long it is good")
      ->check(CLI::Range(int64_t{1}, int64_t{24 * 30}))
      ->capture_default_str();
  chosen.On(token, [token_arguments] { return Token(*token_arguments); });

  auto enroll_arguments = std::make_shared<EnrollArguments>();
  CLI::App* enroll = pki->add_subcommand(
      "enroll", "On a device: makes a key and gets it a first certificate");
  enroll
      ->add_option("DIR", enroll_arguments->directory,
                   "Where to write; the key never leaves it")
      ->required();
  AddRegistrarOptions(enroll, &enroll_arguments->connection);
  AddWhom(enroll, &enroll_arguments->whom);
  enroll->add_option("--token", enroll_arguments->token, "From an operator")
      ->required();
  enroll
      ->add_option("--root-fingerprint", enroll_arguments->fingerprint,
                   "SHA-256 of the root, which came with the token")
      ->required();
  chosen.On(enroll, [enroll_arguments] { return Enroll(*enroll_arguments); });

  auto renew_connection = std::make_shared<RegistrarConnection>();
  CLI::App* renew = pki->add_subcommand(
      "renew", "On a device: a new certificate for the key that is there");
  renew
      ->add_option("DIR", renew_connection->identity_directory,
                   "Folder with certificate.pem, private_key.pem, root.pem")
      ->required();
  AddRegistrarOptions(renew, renew_connection.get());
  chosen.On(renew, [renew_connection] { return Renew(*renew_connection); });
}

}  // namespace mledge
