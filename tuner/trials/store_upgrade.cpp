#include "tuner/trials/store_upgrade.h"

#include <optional>
#include <stdexcept>
#include <vector>

#include "tuner/trials/store_rows.h"

namespace fcsa::tuner {
namespace {

using kernels::Problem;

bool fits(const LoadedTrial& loaded) {
  return content_hash(loaded.stored.trial) == loaded.row.content_hash;
}

// Only backward problems have the fields that were lost.
std::vector<LoadedTrial> misfits(SQLite::Database& database) {
  auto trials = RowReader(database).trials("WHERE p.op = 'backward' ORDER BY t.id", {});
  std::erase_if(trials, fits);
  return trials;
}

// What the problem was before the merge, if the hash tells.
std::optional<Problem> before_the_loss(LoadedTrial loaded) {
  Problem& problem = loaded.stored.trial.problem;
  const Problem damaged = problem;
  for (const bool deterministic : {false, true})
    for (const bool scale_gradient : {false, true})
      for (const bool bias_gradient : {false, true}) {
        if (bias_gradient && damaged.bias == kernels::Bias::none) continue;
        problem.deterministic = damaged.deterministic || deterministic;
        problem.scale_gradient = damaged.scale_gradient || scale_gradient;
        problem.bias_gradient = damaged.bias_gradient || bias_gradient;
        if (fits(loaded)) return problem;
      }
  return std::nullopt;
}

void restore_lost_fields(SQLite::Database& database) {
  for (const auto& loaded : misfits(database)) {
    const auto problem = before_the_loss(loaded);
    if (!problem) continue;
    SQLite::Statement update(database, "UPDATE trials SET problem_id = ? WHERE id = ?");
    update.bind(1, upsert_problem(database, *problem));
    update.bind(2, loaded.stored.id);
    update.exec();
  }
  database.exec("DELETE FROM problems WHERE id NOT IN (SELECT problem_id FROM trials)");
}

void name_refreshes(SQLite::Database& database) {
  const auto races = RowReader(database).trials(
      "WHERE t.phase = 'confirm' AND t.race_id LIKE 'refresh-%' ORDER BY t.id", {});
  for (auto loaded : races) {
    const bool intact = fits(loaded);
    loaded.stored.trial.phase = Phase::refresh;
    SQLite::Statement update(database, "UPDATE trials SET phase = 'refresh', content_hash = ? WHERE id = ?");
    update.bind(1, intact ? content_hash(loaded.stored.trial) : loaded.row.content_hash);
    update.bind(2, loaded.stored.id);
    update.exec();
  }
}

}  // namespace

void upgrade_records(SQLite::Database& database) {
  try {
    restore_lost_fields(database);
    name_refreshes(database);
  } catch (const std::invalid_argument&) {
    // A record that can't be understood: whoever reads it says so.
  }
}

std::size_t damaged_trials(SQLite::Database& database) {
  return misfits(database).size();
}

}  // namespace fcsa::tuner
