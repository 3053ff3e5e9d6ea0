#include "mledge/identity/grpc/registrar_service.h"

#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"
#include "mledge/identity/certificate.h"
#include "mledge/identity/grpc/caller_certificate.h"
#include "mledge/identity/grpc/status.h"

namespace mledge {
namespace {

constexpr int64_t kIssuedPage = 1000;

using Work = std::function<absl::Status(const RegistrarCaller&)>;

// Finds out who calls and runs `work` on the executor.
grpc::ServerUnaryReactor* RunForCaller(const RegistrarEnvironment& environment,
                                       grpc::CallbackServerContext* context,
                                       std::string_view call, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<CallerCertificate> certificate =
      CallerOf(*context, environment.clock->TimeNow());
  if (!certificate.ok()) {
    reactor->Finish(ToGrpcStatus(certificate.status()));
    return reactor;
  }
  environment.executor->Schedule(
      [reactor, call,
       caller = RegistrarCaller{std::move(certificate->identity),
                                std::move(certificate->serial)},
       work = std::move(work)] {
        const absl::Status status = work(caller);
        if (!status.ok()) {
          LOG(WARNING) << call << " of " << caller.identity
                       << " refused: " << status;
        }
        reactor->Finish(ToGrpcStatus(status));
      });
  return reactor;
}

std::string ChainOf(const Registrar& registrar,
                    const Certificate& certificate) {
  return certificate.ToPem() + registrar.authority().certificate().ToPem();
}

absl::StatusOr<Digest> ReadDigest(std::string_view field,
                                  std::string_view bytes) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  if (!digest.ok()) return Annotate(digest.status(), field);
  return digest;
}

absl::StatusOr<absl::Time> ReadTime(std::string_view field,
                                    int64_t milliseconds) {
  if (milliseconds < 0 || milliseconds > 253402300799999) {
    return absl::InvalidArgumentError(
        StrCat(field, ": ", milliseconds, " ms is no time"));
  }
  return absl::FromUnixMillis(milliseconds);
}

}  // namespace

grpc::ServerUnaryReactor* RegistrarServiceAdapter::IssueCertificate(
    grpc::CallbackServerContext* context,
    const v1::IssueCertificateRequest* request,
    v1::IssueCertificateResponse* response) {
  return RunForCaller(
      environment_, context, "IssueCertificate",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        Registrar& registrar = *environment_.registrar;
        MLEDGE_ASSIGN_OR_RETURN(
            const Certificate certificate,
            registrar.Issue(caller, request->certificate_signing_request(),
                            environment_.clock->TimeNow()));
        LOG(INFO) << "issued " << certificate.serial() << " ("
                  << certificate.subject() << ") for " << caller.identity;
        response->set_certificate_chain(ChainOf(registrar, certificate));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::GetRevocationList(
    grpc::CallbackServerContext* context, const v1::GetRevocationListRequest*,
    v1::GetRevocationListResponse* response) {
  return RunForCaller(
      environment_, context, "GetRevocationList",
      [this, response](const RegistrarCaller& caller) -> absl::Status {
        Registrar& registrar = *environment_.registrar;
        MLEDGE_RETURN_IF_ERROR(registrar.CheckCaller(caller));
        MLEDGE_ASSIGN_OR_RETURN(
            *response->mutable_revocation_list(),
            registrar.CurrentRevocationList(environment_.clock->TimeNow()));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::WitnessDirectory(
    grpc::CallbackServerContext* context,
    const v1::WitnessDirectoryRequest* request,
    v1::WitnessDirectoryResponse* response) {
  return RunForCaller(
      environment_, context, "WitnessDirectory",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest task,
            ReadDigest("task_sha256", request->task_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest directory,
            ReadDigest("directory_sha256", request->directory_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(const WitnessStatement statement,
                                environment_.registrar->WitnessDirectory(
                                    caller, task, request->session_number(),
                                    directory, environment_.clock->TimeNow()));
        *response->mutable_statement() = statement.ToProto();
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::WitnessSets(
    grpc::CallbackServerContext* context, const v1::WitnessSetsRequest* request,
    v1::WitnessSetsResponse* response) {
  return RunForCaller(
      environment_, context, "WitnessSets",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest task,
            ReadDigest("task_sha256", request->task_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest session,
            ReadDigest("session_sha256", request->session_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest sets,
            ReadDigest("sets_sha256", request->sets_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(
            const SetsStatement statement,
            environment_.registrar->WitnessSets(
                caller, task, request->session_number(), request->group(),
                session, sets, environment_.clock->TimeNow()));
        *response->mutable_statement() = statement.ToProto();
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::AppendVersion(
    grpc::CallbackServerContext* context,
    const v1::AppendVersionRequest* request,
    v1::AppendVersionResponse* response) {
  return RunForCaller(
      environment_, context, "AppendVersion",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest task,
            ReadDigest("task_sha256", request->task_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(
            const Digest entry,
            ReadDigest("entry_sha256", request->entry_sha256()));
        MLEDGE_ASSIGN_OR_RETURN(const VersionLogHead head,
                                environment_.registrar->AppendVersion(
                                    caller, task, request->version(), entry,
                                    environment_.clock->TimeNow()));
        *response->mutable_head() = head.ToProto();
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::Revoke(
    grpc::CallbackServerContext* context, const v1::RevokeRequest* request,
    v1::RevokeResponse* response) {
  return RunForCaller(
      environment_, context, "Revoke",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        Registrar& registrar = *environment_.registrar;
        const absl::Time now = environment_.clock->TimeNow();
        uint64_t number = 0;
        switch (request->what_case()) {
          case v1::RevokeRequest::kSerial: {
            MLEDGE_ASSIGN_OR_RETURN(
                number, registrar.RevokeSerial(caller, request->serial(),
                                               request->reason(), now));
            break;
          }
          case v1::RevokeRequest::kIdentity: {
            MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                                    Identity::FromUri(request->identity()));
            MLEDGE_ASSIGN_OR_RETURN(
                number, registrar.RevokeIdentity(caller, identity,
                                                 request->reason(), now));
            break;
          }
          default:
            return absl::InvalidArgumentError(
                "name a serial or an identity to revoke");
        }
        LOG(INFO) << caller.identity << " revoked " << request->serial()
                  << request->identity() << " (list " << number
                  << "): " << request->reason();
        response->set_list_number(number);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::CreateEnrollmentToken(
    grpc::CallbackServerContext* context,
    const v1::CreateEnrollmentTokenRequest* request,
    v1::CreateEnrollmentTokenResponse* response) {
  return RunForCaller(
      environment_, context, "CreateEnrollmentToken",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        MLEDGE_ASSIGN_OR_RETURN(const Identity identity,
                                Identity::FromUri(request->identity()));
        MLEDGE_ASSIGN_OR_RETURN(
            const absl::Time expires_at,
            ReadTime("expires_at_unix_milliseconds",
                     request->expires_at_unix_milliseconds()));
        MLEDGE_ASSIGN_OR_RETURN(
            *response->mutable_token(),
            environment_.registrar->CreateToken(caller, identity, expires_at,
                                                environment_.clock->TimeNow()));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RegistrarServiceAdapter::ListIssued(
    grpc::CallbackServerContext* context, const v1::ListIssuedRequest* request,
    v1::ListIssuedResponse* response) {
  return RunForCaller(
      environment_, context, "ListIssued",
      [this, request, response](const RegistrarCaller& caller) -> absl::Status {
        Registrar& registrar = *environment_.registrar;
        RegistrarStorage::IssuedQuery query{.limit = kIssuedPage + 1};
        if (!request->identity().empty()) {
          MLEDGE_ASSIGN_OR_RETURN(query.identity,
                                  Identity::FromUri(request->identity()));
        }
        if (!request->include_expired()) {
          query.valid_at = environment_.clock->TimeNow();
        }
        if (request->skip() < 0) {
          return absl::InvalidArgumentError("skip is negative");
        }
        query.skip = request->skip();
        MLEDGE_ASSIGN_OR_RETURN(const std::vector<IssuedCertificate> issued,
                                registrar.ListIssued(caller, query));
        MLEDGE_ASSIGN_OR_RETURN(const std::vector<Revocation> revocations,
                                registrar.ListRevocations(caller));
        std::set<std::string> revoked;
        for (const Revocation& revocation : revocations) {
          revoked.insert(revocation.serial.empty()
                             ? revocation.identity->ToUri()
                             : revocation.serial);
        }
        for (const IssuedCertificate& each : issued) {
          if (response->entries_size() == kIssuedPage) {
            response->set_more(true);
            break;
          }
          v1::ListIssuedResponse::Entry& entry = *response->add_entries();
          entry.set_serial(each.serial);
          entry.set_identity(each.identity.ToUri());
          entry.set_issued_unix_milliseconds(
              absl::ToUnixMillis(each.issued_at));
          entry.set_not_after_unix_milliseconds(
              absl::ToUnixMillis(each.not_after));
          entry.set_issued_by(each.issued_by);
          entry.set_revoked(revoked.contains(each.serial) ||
                            revoked.contains(entry.identity()));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* EnrollmentServiceAdapter::Enroll(
    grpc::CallbackServerContext* context, const v1::EnrollRequest* request,
    v1::EnrollResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  environment_.executor->Schedule([this, reactor, request, response] {
    const absl::StatusOr<Certificate> certificate =
        environment_.registrar->Enroll(request->token(),
                                       request->certificate_signing_request(),
                                       environment_.clock->TimeNow());
    if (certificate.ok()) {
      LOG(INFO) << "enrolled " << certificate->serial() << " ("
                << certificate->subject() << ")";
      response->set_certificate_chain(
          ChainOf(*environment_.registrar, *certificate));
      response->set_root(environment_.root_pem);
    } else {
      LOG(WARNING) << "Enroll refused: " << certificate.status();
    }
    reactor->Finish(ToGrpcStatus(certificate.status()));
  });
  return reactor;
}

}  // namespace mledge
