#include "mledge/simulation/internal/in_process_link.h"

#include <algorithm>

#include "mledge/client/uploader.h"
#include "mledge/core/logging.h"
#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge::simulation_internal {
namespace {

constexpr size_t kBlobsKept = 8;

// What the other side of a network would hold.
template <typename Message>
absl::StatusOr<Message> OverTheWire(const Message& message) {
  Message received;
  if (!received.ParseFromString(message.SerializeAsString())) {
    return absl::InternalError(
        StrCat("a ", message.GetTypeName(), " does not survive its own wire"));
  }
  return received;
}

// `done`, which gets what a network would have delivered.
template <typename Message>
Coordinator::Done<Message> Delivered(Coordinator::Done<Message> done) {
  return [done = std::move(done)](absl::StatusOr<Message> answer) {
    done(answer.ok() ? OverTheWire(*answer) : std::move(answer));
  };
}

}  // namespace

uint64_t ChunkedBytes(uint64_t size, uint64_t chunk) {
  uint64_t total = 0;
  // A chunk is a tag of one byte, its length as a varint, and the bytes.
  const auto message = [](uint64_t bytes) {
    uint64_t length = 1;
    for (uint64_t rest = bytes; rest >= 128; rest >>= 7) ++length;
    return 1 + length + bytes;
  };
  total += size / chunk * message(chunk);
  if (size % chunk != 0) total += message(size % chunk);
  return total;
}

void InProcessLink::CheckIn(absl::Time now, const Peer& peer,
                            const v1::CheckInRequest& request,
                            Coordinator::Done<v1::CheckInResponse> done) {
  if (!wire_) {
    coordinator_->CheckIn(now, peer, request, absl::InfiniteFuture(),
                          std::move(done));
    return;
  }
  absl::StatusOr<v1::CheckInRequest> received = OverTheWire(request);
  if (!received.ok()) return done(received.status());
  coordinator_->CheckIn(now, peer, *received, absl::InfiniteFuture(),
                        Delivered(std::move(done)));
}

absl::StatusOr<std::shared_ptr<const std::string>> InProcessLink::Fetch(
    const Peer& peer, const Digest& digest) {
  if (!wire_) {
    for (const auto& [name, bytes] : blobs_) {
      if (name == digest) return bytes;
    }
  }
  v1::FetchRequest request;
  request.set_sha256(digest.ToBytes());
  if (wire_) {
    MLEDGE_ASSIGN_OR_RETURN(request, OverTheWire(request));
  }
  MLEDGE_ASSIGN_OR_RETURN(const Digest name,
                          Digest::FromBytes(request.sha256()));
  MLEDGE_ASSIGN_OR_RETURN(const std::shared_ptr<const BlobReader> reader,
                          coordinator_->OpenBlob(peer, name));
  if (!wire_) {
    MLEDGE_ASSIGN_OR_RETURN(std::string bytes,
                            reader->Read(0, reader->size_in_bytes()));
    auto shared = std::make_shared<const std::string>(std::move(bytes));
    blobs_.emplace_front(digest, shared);
    if (blobs_.size() > kBlobsKept) blobs_.pop_back();
    return shared;
  }
  auto bytes = std::make_shared<std::string>();
  while (bytes->size() < reader->size_in_bytes()) {
    v1::FetchChunk chunk;
    MLEDGE_ASSIGN_OR_RETURN(*chunk.mutable_data(),
                            reader->Read(bytes->size(), kFetchChunkInBytes));
    MLEDGE_ASSIGN_OR_RETURN(chunk, OverTheWire(chunk));
    if (chunk.data().empty()) break;
    bytes->append(chunk.data());
  }
  if (Sha256Of(*bytes) != digest) {
    return absl::DataLossError(
        StrCat("blob ", digest.ToHex(), " arrived with other content"));
  }
  return bytes;
}

absl::StatusOr<Coordinator::UploadStart> InProcessLink::BeginUpload(
    absl::Time now, const Peer& peer, const v1::UploadHeader& header) {
  if (!wire_) return coordinator_->BeginUpload(now, peer, header);
  MLEDGE_ASSIGN_OR_RETURN(const v1::UploadHeader received, OverTheWire(header));
  return coordinator_->BeginUpload(now, peer, received);
}

absl::Status InProcessLink::PassOn(TrainedUpdate* trained,
                                   const UpdateContext& context,
                                   SpoolWriter* writer) const {
  if (trained == nullptr ||
      (wire_ ? trained->file.empty() : !trained->update.has_value())) {
    return absl::FailedPreconditionError(
        "the update was passed on before, or never computed");
  }
  if (!wire_) {
    Update update = *std::move(trained->update);
    trained->update.reset();
    return writer->Adopt(std::move(update), context);
  }
  const std::string& file = trained->file;
  for (uint64_t offset = writer->offset(); offset < file.size();
       offset += kUploadChunkInBytes) {
    v1::UploadRequest request;
    request.set_chunk(file.substr(offset, kUploadChunkInBytes));
    MLEDGE_ASSIGN_OR_RETURN(request, OverTheWire(request));
    MLEDGE_RETURN_IF_ERROR(writer->Append(
        {reinterpret_cast<const uint8_t*>(request.chunk().data()),
         request.chunk().size()}));
  }
  return absl::OkStatus();
}

void InProcessLink::FinishUpload(absl::Time now, const Peer& peer,
                                 const v1::UploadHeader& header,
                                 std::unique_ptr<SpoolWriter> writer,
                                 TrainedUpdate* trained,
                                 const UpdateContext& context,
                                 Coordinator::Done<v1::UploadResult> done) {
  if (absl::Status status = PassOn(trained, context, writer.get());
      !status.ok()) {
    return done(status);
  }
  coordinator_->FinishUpload(
      now, peer, header, std::move(writer),
      wire_ ? Delivered(std::move(done)) : std::move(done));
}

void InProcessLink::FinishMaskedUpload(
    absl::Time now, const Peer& peer, const v1::UploadHeader& header,
    std::unique_ptr<SpoolWriter> writer, std::string_view bytes,
    Coordinator::Done<v1::UploadResult> done) {
  const absl::Status appended = writer->Append(
      {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!appended.ok()) return done(appended);
  coordinator_->FinishUpload(now, peer, header, std::move(writer),
                             std::move(done));
}

absl::StatusOr<std::unique_ptr<Coordinator::SecureStream>>
InProcessLink::JoinSecureAggregation(absl::Time now, const Peer& peer,
                                     const v1::SecureAggregationJoin& join,
                                     Coordinator::SecureSink sink) {
  if (!wire_) {
    return coordinator_->JoinSecureAggregation(now, peer, join,
                                               std::move(sink));
  }
  MLEDGE_ASSIGN_OR_RETURN(const v1::SecureAggregationJoin received,
                          OverTheWire(join));
  return coordinator_->JoinSecureAggregation(
      now, peer, received,
      [sink = std::move(sink)](const v1::SecureAggregationResponse& response) {
        const auto delivered = OverTheWire(response);
        CHECK(delivered.ok()) << delivered.status();
        sink(*delivered);
      });
}

void InProcessLink::SendSecurely(absl::Time now,
                                 Coordinator::SecureStream& stream,
                                 const v1::SecaggDeviceMessage& message) {
  if (!wire_) return stream.OnMessage(now, message);
  const auto delivered = OverTheWire(message);
  CHECK(delivered.ok()) << delivered.status();
  stream.OnMessage(now, *delivered);
}

void InProcessLink::Report(absl::Time now, const Peer& peer,
                           const v1::ReportRequest& request,
                           Coordinator::Done<v1::ReportResponse> done) {
  if (!wire_) {
    coordinator_->Report(now, peer, request, std::move(done));
    return;
  }
  absl::StatusOr<v1::ReportRequest> received = OverTheWire(request);
  if (!received.ok()) return done(received.status());
  coordinator_->Report(now, peer, *received, Delivered(std::move(done)));
}

}  // namespace mledge::simulation_internal
