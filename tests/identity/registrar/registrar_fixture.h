#ifndef MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_FIXTURE_H_
#define MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "mledge/tests/identity/registrar/registrar_harness.h"
#include "mledge/tests/support/status_matchers.h"

// Base of the tests of one registrar in memory.

namespace mledge {

class RegistrarFixture : public ::testing::Test, protected RegistrarHarness {
 protected:
  void SetUp() override { Restart(); }
  void Restart() {
    auto registrar = Start(&storage_);
    ASSERT_THAT(registrar, IsOk());
    registrar_ = *std::move(registrar);
  }

  MemoryRegistrarStorage storage_;
  std::unique_ptr<Registrar> registrar_;
};

}  // namespace mledge

#endif  // MLEDGE_TESTS_IDENTITY_REGISTRAR_REGISTRAR_FIXTURE_H_
