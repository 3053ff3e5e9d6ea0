#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

// The lemma on which rule 4 stands (docs/secagg_protocol.md, "Cutting the
// circle"), against every adversary on circles small enough to try them all: a
// coordinator that shows everybody the same sets, keeps back any boxes and has
// any members lost separates honest members only where two disjoint arcs of k/2
// places hold t − k/2 corrupt members each, or where somebody has more than
// 2t − k − 1 corrupt neighbors, which rule 2 excludes.

namespace mledge::secagg {
namespace {

// What becomes of a member. Of the honest ones that are named alive, the
// coordinator wants the sum of kInside without those of kOutside.
enum Fate : uint8_t { kCorrupt, kInside, kOutside, kDead, kUnnamed };

class Circle {
 public:
  Circle(int members, int neighbors, int threshold)
      : n_(members), k_(neighbors), t_(threshold), fate_(members) {}

  // Tries all fates, up to a turn of the circle. Returns how many of them
  // separate.
  int64_t TryAll() {
    separated_ = 0;
    fate_[0] = kInside;
    Try(1);
    return separated_;
  }

 private:
  template <typename Predicate>
  int CountNeighbors(int of, Predicate is) const {
    int count = 0;
    for (int step = 1; step <= k_ / 2; ++step) {
      count += is((of + step) % n_);
      count += is((of - step + n_) % n_);
    }
    return count;
  }

  void Try(int place) {
    if (place == n_) return Judge();
    for (const Fate fate : {kCorrupt, kInside, kOutside, kDead, kUnnamed}) {
      fate_[place] = fate;
      Try(place + 1);
    }
  }

  bool IsExcludedByRule2() const {
    for (int i = 0; i < n_; ++i) {
      if (fate_[i] != kCorrupt && CountNeighbors(i, [&](int j) {
                                    return fate_[j] == kCorrupt;
                                  }) > 2 * t_ - k_ - 1) {
        return true;
      }
    }
    return false;
  }

  // The best that the coordinator can do with these fates: inside members get
  // no box from outside (their masks would never come off), outside members
  // get all, and dead ones count where their mask key can be rebuilt.
  bool Separates() const {
    bool inside = false, outside = false;
    for (const Fate fate : fate_) {
      inside |= fate == kInside;
      outside |= fate == kOutside;
    }
    if (!inside || !outside || IsExcludedByRule2()) return false;
    std::vector<bool> open(n_);  // dead, and its mask key is rebuilt
    for (int i = 0; i < n_; ++i) open[i] = fate_[i] == kDead;
    std::vector<bool> signs(n_), releases(n_);
    for (bool changed = true; changed;) {
      changed = false;
      const auto is_alive = [&](int j) {
        return fate_[j] <= kOutside;  // as everybody is told
      };
      for (int i = 0; i < n_; ++i) {
        signs[i] =
            fate_[i] == kCorrupt ||
            (fate_[i] <= kOutside && CountNeighbors(i, is_alive) >= t_ &&
             (fate_[i] == kOutside || CountNeighbors(i, [&](int j) {
                                        return fate_[j] == kOutside ||
                                               (fate_[j] == kDead && !open[j]);
                                      }) == 0));
      }
      for (int i = 0; i < n_; ++i) {
        releases[i] =
            signs[i] && (fate_[i] == kCorrupt || CountNeighbors(i, [&](int j) {
                                                   return signs[j];
                                                 }) >= t_);
      }
      for (int i = 0; i < n_; ++i) {
        if (open[i] &&
            CountNeighbors(i, [&](int j) { return releases[j]; }) < t_) {
          open[i] = false;
          changed = true;
        }
      }
    }
    for (int i = 0; i < n_; ++i) {
      if (fate_[i] != kInside) continue;
      const int boxes = CountNeighbors(i, [&](int j) {
        return fate_[j] <= kInside || (fate_[j] == kDead && open[j]);
      });
      const int shares = CountNeighbors(i, [&](int j) { return releases[j]; });
      if (boxes < t_ || shares < t_) return false;
    }
    return true;
  }

  bool HasTwoCorruptArcs() const {
    std::vector<int> starts;
    for (int start = 0; start < n_; ++start) {
      int corrupt = 0;
      for (int i = 0; i < k_ / 2; ++i) {
        corrupt += fate_[(start + i) % n_] == kCorrupt;
      }
      if (corrupt >= t_ - k_ / 2) starts.push_back(start);
    }
    for (const int a : starts) {
      for (const int b : starts) {
        const int apart = (b - a + n_) % n_;
        if (apart >= k_ / 2 && n_ - apart >= k_ / 2) return true;
      }
    }
    return false;
  }

  void Judge() {
    if (!Separates()) return;
    ++separated_;
    EXPECT_TRUE(HasTwoCorruptArcs()) << [&] {
      std::string text;
      for (const Fate fate : fate_) text += "Cio+."[fate];
      return text;
    }();
  }

  const int n_;
  const int k_;
  const int t_;
  std::vector<Fate> fate_;
  int64_t separated_ = 0;
};

TEST(CircleCutTest, NeedsTwoArcsOfCorruptMembers) {
  // That some separations exist is what makes this a test.
  EXPECT_GT(Circle(9, 2, 2).TryAll(), 0);
  EXPECT_GT(Circle(10, 4, 3).TryAll(), 0);
  EXPECT_GT(Circle(10, 4, 4).TryAll(), 0);
  EXPECT_GT(Circle(11, 6, 5).TryAll(), 0);
}

}  // namespace
}  // namespace mledge::secagg
