#include "mledge/client/uploader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "mledge/core/status_macros.h"
#include "mledge/core/strings.h"

namespace mledge {

v1::UploadHeader MakeUploadHeader(const AssignmentId& assignment,
                                  const FinishedUpdate& update) {
  v1::UploadHeader header;
  header.set_assignment_id(assignment.value());
  header.set_content_sha256(update.content_sha256.ToBytes());
  header.set_size_in_bytes(update.size_in_bytes);
  return header;
}

Uploader::Uploader(v1::UploadHeader header, const UploadSource* source,
                   uint64_t chunk_size_in_bytes)
    : header_(std::move(header)),
      source_(source),
      chunk_size_in_bytes_(
          std::clamp<uint64_t>(chunk_size_in_bytes, 1, kUploadChunkInBytes)) {}

absl::StatusOr<std::optional<v1::UploadRequest>> Uploader::NextRequest() {
  if (result_.has_value()) return std::nullopt;
  if (!header_sent_) {
    if (source_->size_in_bytes() != header_.size_in_bytes()) {
      return absl::FailedPreconditionError(
          StrCat("the stored update has ", source_->size_in_bytes(),
                 " bytes, its record says ", header_.size_in_bytes()));
    }
    header_sent_ = true;
    v1::UploadRequest request;
    *request.mutable_header() = header_;
    return request;
  }
  if (!resumed_ || all_sent()) return std::nullopt;
  const uint64_t size =
      std::min(chunk_size_in_bytes_, header_.size_in_bytes() - offset_);
  MLEDGE_ASSIGN_OR_RETURN(std::string chunk, source_->Read(offset_, size));
  if (chunk.size() != size) {
    return absl::DataLossError(StrCat("the stored update gave ", chunk.size(),
                                      " bytes instead of ", size));
  }
  offset_ += size;
  bytes_sent_ += size;
  v1::UploadRequest request;
  request.set_chunk(std::move(chunk));
  return request;
}

absl::Status Uploader::OnResponse(const v1::UploadResponse& response) {
  if (result_.has_value()) {
    return absl::InvalidArgumentError(
        "the coordinator sent a message after the upload's result");
  }
  switch (response.message_case()) {
    case v1::UploadResponse::kResume:
      if (resumed_) {
        return absl::InvalidArgumentError(
            "the coordinator named a second offset for one upload");
      }
      if (response.resume().offset() > header_.size_in_bytes()) {
        return absl::InvalidArgumentError(
            StrCat("the coordinator wants the update from byte ",
                   response.resume().offset(), " on, it has ",
                   header_.size_in_bytes()));
      }
      resumed_ = true;
      offset_ = response.resume().offset();
      return absl::OkStatus();
    case v1::UploadResponse::kResult:
      if (response.result().outcome() ==
          v1::UploadResult::OUTCOME_UNSPECIFIED) {
        return absl::InvalidArgumentError(
            "the coordinator's result of the upload has no outcome");
      }
      // The same content may be there already; then no offset comes first. But
      // a coordinator that asked for bytes cannot have them all before they
      // were sent.
      if ((response.result().outcome() == v1::UploadResult::ACKNOWLEDGED ||
           response.result().outcome() == v1::UploadResult::RECEIVED) &&
          resumed_ && !all_sent()) {
        return absl::DataLossError(
            "the coordinator acknowledged an update that it cannot have");
      }
      result_ = response.result();
      return absl::OkStatus();
    case v1::UploadResponse::MESSAGE_NOT_SET:
      return absl::InvalidArgumentError(
          "the coordinator sent an empty message during an upload");
  }
  return absl::OkStatus();
}

}  // namespace mledge
