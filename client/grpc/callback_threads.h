#ifndef MLEDGE_CLIENT_GRPC_CALLBACK_THREADS_H_
#define MLEDGE_CLIENT_GRPC_CALLBACK_THREADS_H_

// Works around a fault of the linked gRPC (1.51): the threads that run its
// callbacks are ended with the last channel that uses them, and this races with
// their own last step (an assertion in ref_counted.h ends the process).

namespace mledge {

// Keeps gRPC's callback threads until the process ends. Thread-safe; again is
// harmless.
void KeepCallbackThreads();

}  // namespace mledge

#endif  // MLEDGE_CLIENT_GRPC_CALLBACK_THREADS_H_
