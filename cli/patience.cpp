#include "cli/patience.h"

#include "cli/process_setup.h"
#include "cli/say.h"

namespace fcsa::cli {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds kSilent{2};  // a writer is done in milliseconds
constexpr Seconds kBetweenLines{30};

}  // namespace

tuner::Patience patience() {
  return {.limit = kSilent,
          .wait_on =
              [last = Seconds(0)](const std::filesystem::path& file, Seconds waited) mutable {
                if (stop_requested()) return false;
                if (waited < last || last == Seconds(0) || waited >= last + kBetweenLines) {
                  say("fcsa: waiting for another process that has {} locked ({:.0f} s so far); Ctrl-C ends "
                      "this\n",
                      file.string(), waited.count());
                  last = waited;
                }
                return true;
              },
          .again = std::chrono::milliseconds(100)};
}

}  // namespace fcsa::cli
