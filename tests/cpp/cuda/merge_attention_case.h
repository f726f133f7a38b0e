// The inputs of a merge_attention on a GPU, emulated, and its results against a softmax in double
// precision of the rounded inputs.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/merge_attention/cuda.h"
#include "schedules.h"
#include "tensor16.h"

namespace tokenfuse::test {

using cuda::DeviceInfo;
using cuda::MergeAttentionArgs;
using cuda::Type;

struct MergeShape {
  int batch, rows, tokens, width;
};

// Float rows of all batches, with one more batch before and behind that nobody may write.
class Guarded {
 public:
  Guarded(int batch, int rows, int width)
      : one_(static_cast<std::size_t>(rows) * static_cast<std::size_t>(width)),
        buffer_(one_ * static_cast<std::size_t>(batch + 2) * sizeof(float)) {
    unset();
  }
  void unset() { std::memset(buffer_.data(), 0xff, buffer_.bytes()); }
  float* data() const { return static_cast<float*>(buffer_.data()) + one_; }
  bool guards_unset() const {
    const auto* bytes = static_cast<const unsigned char*>(buffer_.data());
    bool unset = true;
    for (std::size_t i = 0; i < one_ * sizeof(float); ++i) {
      unset = unset && bytes[i] == 0xff && bytes[buffer_.bytes() - 1 - i] == 0xff;
    }
    return unset;
  }
  void append_to(std::vector<unsigned char>& bytes) const {
    const auto* from = static_cast<const unsigned char*>(buffer_.data());
    bytes.insert(bytes.end(), from, from + buffer_.bytes());
  }

 private:
  std::size_t one_;
  cuda::DeviceBuffer buffer_;
};

struct Merge {
  MergeShape shape;
  Tensor16 q, x, o;  // o: a batch before and one behind
  Guarded lse, weights;
  MergeAttentionArgs args{};

  Merge(Type type, MergeShape s)
      : shape(s),
        q(type, 1, s.rows, s.width),
        x(type, s.batch, s.tokens, s.width),
        o(type, s.batch + 2, s.rows, s.width),
        lse(s.batch, 1, s.rows),
        weights(s.batch, s.rows, s.tokens) {
    q.randomize(1, 4.0f / std::sqrt(static_cast<float>(s.width)));
    x.randomize(2, 1.0f);
    args.type = type;
    args.q = q.data();
    args.x = x.data();
    args.o = static_cast<std::uint16_t*>(o.data()) + o.batch_stride();
    args.lse = lse.data();
    args.weights = weights.data();
    args.batch = s.batch;
    args.rows = s.rows;
    args.tokens = s.tokens;
    args.width = s.width;
  }

  std::vector<unsigned char> bytes() const {
    std::vector<unsigned char> all = o.bytes();
    lse.append_to(all);
    weights.append_to(all);
    return all;
  }

  void run(const DeviceInfo& device) {
    cuda::emulator::set_device(device);
    cuda::Stream stream;
    run_schedules(
        [&] {
          o.unset();
          lse.unset();
          weights.unset();
          cuda::DeviceBuffer workspace(cuda::merge_attention_workspace_bytes(device, args));
          args.workspace = workspace.data();
          cuda::merge_attention(stream, device, args);
          args.workspace = nullptr;
        },
        [&] { return bytes(); });
    bool unset = lse.guards_unset() && weights.guards_unset();
    for (int i = 0; i < shape.rows; ++i) {
      for (int d = 0; d < shape.width; ++d) {
        unset = unset && o.word(0, i, d) == Tensor16::kUnset &&
                o.word(shape.batch + 1, i, d) == Tensor16::kUnset;
      }
    }
    CHECK(unset);
  }

  double got(int b, int i, int d) const { return o.get(b + 1, i, d); }
  float got_lse(int b, int i) const { return lse.data()[b * shape.rows + i]; }
  float got_weight(int b, int i, int j) const {
    return weights.data()[(b * shape.rows + i) * shape.tokens + j];
  }
  bool row_is_nan(int b, int i) const {
    return o.row_is_nan(b + 1, i) && std::isnan(got_lse(b, i)) && std::isnan(got_weight(b, i, 0));
  }
  bool row_is_finite(int b, int i) const {
    return o.row_is_finite(b + 1, i) && std::isfinite(got_lse(b, i)) &&
           std::isfinite(got_weight(b, i, 0));
  }
  bool same_batch(int b, const Merge& other, int other_b) const {
    bool same = true;
    for (int i = 0; i < shape.rows; ++i) {
      for (int d = 0; d < shape.width; ++d) {
        same = same && o.word(b + 1, i, d) == other.o.word(other_b + 1, i, d);
      }
      for (int j = 0; j < shape.tokens; ++j) {
        same = same && got_weight(b, i, j) == other.got_weight(other_b, i, j);
      }
      same = same && got_lse(b, i) == other.got_lse(other_b, i);
    }
    return same;
  }
};

// The worst share of a bound, and what it is of.
struct Worst {
  double share = 0.0;
  std::string text = "within the bounds";

  void see(const char* what, int b, int i, int j, double got, double want, double bound) {
    const double is = std::fabs(got - want) / bound;
    if (is <= share) return;
    share = std::isnan(is) ? HUGE_VAL : is;
    text = std::string(what) + "[" + std::to_string(b) + ", " + std::to_string(i) + ", " +
           std::to_string(j) + "] = " + std::to_string(got) + ", want " + std::to_string(want) +
           ": " + std::to_string(share) + " times the bound";
  }
};

// Scores are off by (C + 2) eps of their magnitude. Terms of the softmax by twice that and some eps
// of exp, rescaling and sums; a weighted mean by twice as much, since its divisor is off too. The
// terms are rounded to 16 bits for the second product, and so is the result.
inline void check_result(const Merge& merge) {
  const MergeShape& s = merge.shape;
  const double unit = unit_roundoff(merge.args.type), least = least_rounding(merge.args.type);
  const double rounding = (2.0 * s.tokens + 40.0) * kEps;
  Worst worst;
  std::vector<double> scores(static_cast<std::size_t>(s.tokens));
  for (int b = 0; b < s.batch; ++b) {
    for (int i = 0; i < s.rows; ++i) {
      double top = -HUGE_VAL, magnitude = 0.0, sum = 0.0;
      for (int j = 0; j < s.tokens; ++j) {
        double score = 0.0, terms = 0.0;
        for (int d = 0; d < s.width; ++d) {
          const double term = merge.q.get(0, i, d) * merge.x.get(b, j, d);
          score += term;
          terms += std::fabs(term);
        }
        scores[static_cast<std::size_t>(j)] = score;
        top = std::max(top, score);
        magnitude = std::max(magnitude, terms);
      }
      for (const double score : scores) sum += std::exp(score - top);
      const double lse = top + std::log(sum);
      const double score_error = (s.width + 2.0) * kEps * magnitude;
      const double lse_error = score_error + rounding + 4.0 * kEps * std::fabs(lse);
      if (merge.args.lse != nullptr) {
        worst.see("lse", b, i, 0, static_cast<double>(merge.got_lse(b, i)), lse, lse_error);
      }
      // From here on, the weights.
      for (double& score : scores) score = std::exp(score - lse);
      for (int j = 0; j < s.tokens && merge.args.weights != nullptr; ++j) {
        const double weight = scores[static_cast<std::size_t>(j)];
        worst.see("weights", b, i, j, static_cast<double>(merge.got_weight(b, i, j)), weight,
                  2.0 * (lse_error + score_error) * weight + kTiny);
      }
      for (int d = 0; d < s.width; ++d) {
        double value = 0.0, absolute = 0.0, largest = 0.0, all = 0.0;
        for (int j = 0; j < s.tokens; ++j) {
          const double x = merge.x.get(b, j, d);
          const double weight = scores[static_cast<std::size_t>(j)];
          value += weight * x;
          absolute += weight * std::fabs(x);
          all += std::fabs(x);
          largest = std::max(largest, std::fabs(x));
        }
        const double bound = 2.0 * (2.0 * score_error + rounding) * largest +
                             unit * (1.0 + unit) * absolute + least * all / sum +
                             unit * std::fabs(value) + least;
        worst.see("o", b, i, d, merge.got(b, i, d), value, bound);
      }
    }
  }
  check(worst.share <= 1.0, worst.text.c_str(), __FILE__, __LINE__);
}

}  // namespace tokenfuse::test
