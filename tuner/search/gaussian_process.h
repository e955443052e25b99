// A Gaussian process over the configurations of a space: what times to expect of those that were not
// measured.
#pragma once

#include <Eigen/Dense>
#include <vector>

#include "tuner/search/features.h"

namespace fcsa::tuner {

// Matern 5/2 over a distance to which each axis of the features adds its weight times its squared distance.
// Weights and noise are those that make the observations most likely, with a prior that keeps them in bounds.
//
// Points (rows) are what was measured or will be; columns are the configurations that are predicted. Adding a
// point costs points x columns; new values for the same points cost as much once.
class GaussianProcess {
 public:
  explicit GaussianProcess(const std::vector<Features::Axis>& axes);

  using Digits = Features::Digits;

  // Fits weights and noise to these points, and drops rows and columns.
  void fit(const std::vector<Digits>& points, const Eigen::VectorXd& values);
  // Drops rows and columns; these are the columns now.
  void set_columns(const std::vector<Digits>& columns);
  void add_row(const Digits& point);
  void drop_rows_after(std::size_t count);
  std::size_t rows() const { return points_.size(); }

  struct Prediction {
    Eigen::ArrayXf mean, deviation;  // of each column
  };
  // `values`: of the first rows, in order. Rows beyond those have no value yet: they leave the mean as it is
  // and make the deviation around them small.
  Prediction predict(const Eigen::VectorXd& values) const;
  double noise() const;  // variance, in units of the signal's

 private:
  class Likelihood;
  double correlation(const Digits& a, const Digits& b) const;
  Eigen::ArrayXf correlations(const Digits& point) const;  // with each column
  void make_tables();

  const std::vector<Features::Axis>* axes_;
  std::vector<Eigen::MatrixXf> tables_;              // of each axis, squared distances times the weight
  Eigen::VectorXd logs_;                             // of the weight of each axis, and of the noise
  std::vector<std::vector<std::uint16_t>> columns_;  // of each axis, the places of all columns
  Eigen::Index width_ = 0;                           // number of columns
  std::vector<Digits> points_;
  Eigen::MatrixXd factor_;  // lower Cholesky factor of the points' covariance
  // factor_^-1 times the covariance of points and columns, one row a point.
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> solved_;
  Eigen::ArrayXf explained_;  // of each column, sum of squares of solved_
};

}  // namespace fcsa::tuner
