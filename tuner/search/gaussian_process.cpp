#include "tuner/search/gaussian_process.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

// Prior of the logarithms.
constexpr double kMeanLogWeight = 0.0, kMeanLogWeightOfDerived = -1.0, kDeviationLogWeight = 1.5;
constexpr double kMeanLogNoise = -6.0, kDeviationLogNoise = 1.5;
constexpr int kSteps = 25;

Eigen::VectorXd prior_mean(const std::vector<Features::Axis>& axes) {
  Eigen::VectorXd mean(static_cast<Eigen::Index>(axes.size()) + 1);
  for (std::size_t i = 0; i < axes.size(); ++i)
    mean[static_cast<Eigen::Index>(i)] = axes[i].derived ? kMeanLogWeightOfDerived : kMeanLogWeight;
  mean[mean.size() - 1] = kMeanLogNoise;
  return mean;
}

// Matern 5/2, of the squared distance.
template <typename Array>
Array matern(const Array& squared) {
  const Array r = (5 * squared).sqrt();
  return (1 + r + r * r / 3) * (-r).exp();
}

}  // namespace

// Log marginal likelihood of points, with mean and signal variance at their best, and prior of the
// logarithms.
class GaussianProcess::Likelihood {
 public:
  Likelihood(const std::vector<Features::Axis>& axes, const std::vector<Digits>& points,
             const Eigen::VectorXd& values)
      : prior_mean_(prior_mean(axes)), values_(values), count_(values.size()) {
    distances_.resize(count_ * (count_ - 1) / 2, static_cast<Eigen::Index>(axes.size()));
    for (std::size_t axis = 0; axis < axes.size(); ++axis) {
      Eigen::Index pair = 0;
      for (std::size_t j = 0; j < points.size(); ++j)
        for (std::size_t i = j + 1; i < points.size(); ++i)
          distances_(pair++, static_cast<Eigen::Index>(axis)) =
              axes[axis].squared_distances(points[i][axis], points[j][axis]);
    }
  }

  double operator()(const Eigen::VectorXd& logs, Eigen::VectorXd& gradient) const {
    const Eigen::Index axes = logs.size() - 1;
    const Eigen::VectorXd weights = logs.head(axes).array().exp();
    const double noise = std::exp(logs[axes]);
    const Eigen::ArrayXd r = (5 * (distances_ * weights).array()).sqrt();
    const Eigen::ArrayXd decay = (-r).exp();
    Eigen::MatrixXd covariance = Eigen::MatrixXd::Identity(count_, count_) * (1 + noise);
    for_each_column([&](Eigen::Index j, Eigen::Index first, Eigen::Index length) {
      const auto s = r.segment(first, length);
      covariance.col(j).tail(length) = (1 + s + s * s / 3) * decay.segment(first, length);
    });
    const Eigen::LLT<Eigen::MatrixXd> factor(covariance);  // reads the lower triangle
    const Eigen::MatrixXd inverse = factor.solve(Eigen::MatrixXd::Identity(count_, count_));
    const Eigen::VectorXd ones = inverse.rowwise().sum();
    const Eigen::VectorXd centred = values_.array() - ones.dot(values_) / ones.sum();
    const Eigen::VectorXd solved = inverse * centred;
    const double n = static_cast<double>(count_), variance = std::max(centred.dot(solved) / n, 1e-12);
    Eigen::ArrayXd sensitivity(r.size());
    for_each_column([&](Eigen::Index j, Eigen::Index first, Eigen::Index length) {
      sensitivity.segment(first, length) =
          solved.tail(length).array() * (solved[j] / variance) - inverse.col(j).tail(length).array();
    });
    // The slope of the correlation by the squared distance is -5/6 (1 + r) e^-r.
    sensitivity *= -5.0 / 6 * (1 + r) * decay;
    gradient.resize(axes + 1);
    gradient.head(axes) = (distances_.transpose() * sensitivity.matrix()).array() * weights.array();
    gradient[axes] = (solved.squaredNorm() / variance - inverse.trace()) * noise / 2;
    const double log_determinant = 2 * factor.matrixLLT().diagonal().array().log().sum();
    return -n / 2 * std::log(variance) - log_determinant / 2 + prior(logs, gradient);
  }

 private:
  // Pairs below the diagonal are kept column by column.
  template <typename Call>
  void for_each_column(Call&& call) const {
    Eigen::Index first = 0;
    for (Eigen::Index j = 0; j < count_; ++j) {
      const Eigen::Index length = count_ - 1 - j;
      call(j, first, length);
      first += length;
    }
  }

  double prior(const Eigen::VectorXd& logs, Eigen::VectorXd& gradient) const {
    Eigen::ArrayXd deviations = Eigen::ArrayXd::Constant(logs.size(), kDeviationLogWeight);
    deviations[logs.size() - 1] = kDeviationLogNoise;
    const Eigen::ArrayXd off = (logs - prior_mean_).array() / deviations;
    gradient.array() -= off / deviations;
    return -off.square().sum() / 2;
  }

  Eigen::VectorXd prior_mean_;
  const Eigen::VectorXd& values_;
  Eigen::Index count_;
  Eigen::MatrixXd distances_;  // of each pair of points, along each axis
};

GaussianProcess::GaussianProcess(const std::vector<Features::Axis>& axes)
    : axes_(&axes), logs_(prior_mean(axes)) {
  make_tables();
}

double GaussianProcess::noise() const {
  return std::exp(logs_[logs_.size() - 1]);
}

void GaussianProcess::make_tables() {
  tables_.clear();
  for (std::size_t i = 0; i < axes_->size(); ++i)
    tables_.emplace_back(
        ((*axes_)[i].squared_distances * std::exp(logs_[static_cast<Eigen::Index>(i)])).cast<float>());
}

double GaussianProcess::correlation(const Digits& a, const Digits& b) const {
  double squared = 0;
  for (std::size_t i = 0; i < tables_.size(); ++i) squared += static_cast<double>(tables_[i](a[i], b[i]));
  return matern(Eigen::Array<double, 1, 1>(squared))[0];
}

Eigen::ArrayXf GaussianProcess::correlations(const Digits& point) const {
  Eigen::ArrayXf squared = Eigen::ArrayXf::Zero(width_);
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    const float* table = tables_[i].col(point[i]).data();
    const std::uint16_t* places = columns_[i].data();
    for (Eigen::Index j = 0; j < width_; ++j) squared[j] += table[places[j]];
  }
  return matern(squared);
}

// Steps whose length grows while the sign of a slope stays, and halves when it turns (Rprop).
void GaussianProcess::fit(const std::vector<Digits>& points, const Eigen::VectorXd& values) {
  const Likelihood likelihood(*axes_, points, values);
  Eigen::VectorXd logs = logs_, gradient, before = Eigen::VectorXd::Zero(logs.size());
  Eigen::VectorXd step = Eigen::VectorXd::Constant(logs.size(), 0.3);
  double best = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < kSteps; ++i) {
    const double found = likelihood(logs, gradient);
    if (found > best) {
      best = found;
      logs_ = logs;
    }
    for (Eigen::Index p = 0; p < logs.size(); ++p) {
      const double turn = gradient[p] * before[p];
      step[p] = std::clamp(turn > 0 ? step[p] * 1.2 : turn < 0 ? step[p] * 0.5 : step[p], 1e-3, 1.0);
      logs[p] += gradient[p] > 0 ? step[p] : -step[p];
    }
    before = gradient;
  }
  make_tables();
  set_columns({});
}

void GaussianProcess::set_columns(const std::vector<Digits>& columns) {
  points_.clear();
  width_ = static_cast<Eigen::Index>(columns.size());
  columns_.assign(axes_->size(), {});
  for (const auto& column : columns)
    for (std::size_t i = 0; i < column.size(); ++i) columns_[i].push_back(column[i]);
  explained_ = Eigen::ArrayXf::Zero(width_);
}

void GaussianProcess::add_row(const Digits& point) {
  const auto row = static_cast<Eigen::Index>(points_.size());
  if (row >= factor_.rows())
    factor_.conservativeResize(std::max<Eigen::Index>(64, 2 * row), std::max<Eigen::Index>(64, 2 * row));
  if (row == 0 || row >= solved_.rows()) solved_.conservativeResize(factor_.rows(), width_);
  Eigen::VectorXd covariance(row);
  for (Eigen::Index i = 0; i < row; ++i)
    covariance[i] = correlation(points_[static_cast<std::size_t>(i)], point);
  factor_.topLeftCorner(row, row).triangularView<Eigen::Lower>().solveInPlace(covariance);
  factor_.row(row).head(row) = covariance.transpose();
  factor_(row, row) = std::sqrt(std::max(1 + noise() - covariance.squaredNorm(), 1e-9));
  Eigen::RowVectorXf next = correlations(point).matrix().transpose();
  if (row > 0) next.noalias() -= covariance.transpose().cast<float>() * solved_.topRows(row);
  next /= static_cast<float>(factor_(row, row));
  solved_.row(row) = next;
  explained_ += next.transpose().array().square();
  points_.push_back(point);
}

void GaussianProcess::drop_rows_after(std::size_t count) {
  for (std::size_t row = count; row < points_.size(); ++row)
    explained_ -= solved_.row(static_cast<Eigen::Index>(row)).transpose().array().square();
  points_.resize(std::min(count, points_.size()));
}

GaussianProcess::Prediction GaussianProcess::predict(const Eigen::VectorXd& values) const {
  const auto told = values.size();
  const auto lower = factor_.topLeftCorner(told, told).triangularView<Eigen::Lower>();
  const Eigen::VectorXd ones = lower.solve(Eigen::VectorXd::Ones(told)), plain = lower.solve(values);
  const double centre = ones.dot(plain) / ones.squaredNorm();
  const Eigen::VectorXd solved = plain - centre * ones;
  const double variance = std::max(solved.squaredNorm() / static_cast<double>(told), 1e-12);
  const Eigen::RowVectorXf mean = solved.transpose().cast<float>() * solved_.topRows(told);
  return {.mean = mean.transpose().array() + static_cast<float>(centre),
          .deviation = (static_cast<float>(variance) * (1 - explained_).max(1e-6F)).sqrt()};
}

}  // namespace fcsa::tuner
