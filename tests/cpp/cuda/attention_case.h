// The inputs of an attention on a GPU, emulated, and its result against a softmax in double
// precision of the rounded inputs.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention/cuda.h"
#include "schedules.h"
#include "tensor16.h"

namespace tokenfuse::test {

using cuda::AttentionArgs;
using cuda::DeviceInfo;
using cuda::Type;

struct AttentionShape {
  int batch, heads, head_dim, queries, keys;
};

// Of a bias: none, any numbers, and such that keys behind the query are hidden.
enum class Bias { kNone, kAny, kCausal };

struct Attention {
  AttentionShape shape;
  int query_rows;
  Tensor16 q, k, v, o;
  std::vector<float> bias;
  std::vector<int> counts;
  int first = 0;
  AttentionArgs args{};

  // `query_rows`: of q, where `first` will be more than 0.
  Attention(Type type, AttentionShape s, Bias kind = Bias::kNone, int gap = 8, int rows = 0)
      : shape(s),
        query_rows(rows == 0 ? s.queries : rows),
        q(type, s.batch, query_rows, s.heads * s.head_dim, gap),
        k(type, s.batch, s.keys, s.heads * s.head_dim, 2 * gap),
        v(type, s.batch, s.keys, s.heads * s.head_dim, gap),
        o(type, s.batch, s.queries, s.heads * s.head_dim, gap) {
    q.randomize(1, 2.0f);
    k.randomize(2, 2.0f);
    v.randomize(3, 1.0f);
    args = {type,
            q.data(),
            k.data(),
            v.data(),
            o.data(),
            q.stride(),
            k.stride(),
            v.stride(),
            o.stride(),
            q.batch_stride(),
            k.batch_stride(),
            v.batch_stride(),
            o.batch_stride(),
            nullptr,
            0,
            nullptr,
            nullptr,
            s.batch,
            s.heads,
            s.head_dim,
            s.queries,
            s.keys,
            1.0f / std::sqrt(static_cast<float>(s.head_dim))};
    if (kind == Bias::kNone) return;
    // A line per head, from key 0 of the last query to the last key of query 0.
    const int line = query_rows + s.keys - 1;
    Random numbers(4);
    for (int i = 0; i < s.heads * line; ++i) {
      const bool behind = i % line > query_rows - 1;
      bias.push_back(kind == Bias::kCausal && behind ? -kInf : numbers.uniform(2.0f));
    }
    args.bias = bias.data() + query_rows - 1;
    args.bias_head_stride = line;
  }

  void set_counts(std::vector<int> some) {
    counts = std::move(some);
    args.key_counts = counts.data();
    hide_rest();
  }
  void set_first(int row) {
    first = row;
    args.first = &first;
    hide_rest();
  }
  // NaN, which must not leak.
  void hide_rest() {
    for (int b = 0; b < shape.batch; ++b) {
      for (int j = num_keys(b); j < shape.keys; ++j) {
        k.set_row(b, j, kNan);
        v.set_row(b, j, kNan);
      }
    }
  }
  int num_keys(int b) const {
    int count = args.first == nullptr ? shape.keys : first + shape.queries;
    if (args.key_counts != nullptr) count = std::min(count, counts[static_cast<std::size_t>(b)]);
    return count;
  }

  void run(const DeviceInfo& device) {
    cuda::Stream stream;
    run_schedules(
        [&] {
          o.unset();
          cuda::attention(stream, device, args);
        },
        [&] { return o.bytes(); });
    CHECK(o.gaps_unset());
  }

  // A score and the magnitude of its terms.
  double score(int b, int h, int i, int j, double& magnitude) const {
    double sum = 0.0;
    magnitude = 0.0;
    for (int d = h * shape.head_dim; d < (h + 1) * shape.head_dim; ++d) {
      const double term = static_cast<double>(args.scale) * q.get(b, first + i, d) * k.get(b, j, d);
      sum += term;
      magnitude += std::fabs(term);
    }
    if (args.bias == nullptr) return sum;
    const auto added = static_cast<double>(args.bias[h * args.bias_head_stride + j - first - i]);
    if (std::isfinite(added)) magnitude += std::fabs(added);
    return sum + added;
  }

  // Scores are off by (h + 4) eps of their magnitude, terms of the softmax by twice that and some
  // eps of exp and sums; and a weighted mean by twice as much, since its divisor is off too. The
  // terms are rounded to 16 bits for the second product, and so is the result.
  void check_result() const {
    const double unit = unit_roundoff(args.type), least = least_rounding(args.type);
    double worst = 0.0;
    std::string text = "o";
    std::vector<double> weights(static_cast<std::size_t>(shape.keys));
    for (int b = 0; b < shape.batch; ++b) {
      for (int h = 0; h < shape.heads; ++h) {
        for (int i = 0; i < shape.queries; ++i) {
          double top = -HUGE_VAL, magnitude = 0.0, sum = 0.0;
          const int keys = num_keys(b);
          for (int j = 0; j < keys; ++j) {
            double terms = 0.0;
            const double s = score(b, h, i, j, terms);
            weights[static_cast<std::size_t>(j)] = s;
            top = std::max(top, s);
            magnitude = std::max(magnitude, terms);
          }
          for (int j = 0; j < keys; ++j) {
            auto& weight = weights[static_cast<std::size_t>(j)];
            weight = std::exp(weight - top);
            sum += weight;
          }
          const double relative =
              2.0 * (2.0 * (shape.head_dim + 4) * kEps * magnitude + (2.0 * keys + 16.0) * kEps);
          for (int d = h * shape.head_dim; d < (h + 1) * shape.head_dim; ++d) {
            double value = 0.0, absolute = 0.0, largest = 0.0, all = 0.0;
            for (int j = 0; j < keys; ++j) {
              const double w = weights[static_cast<std::size_t>(j)] / sum, x = v.get(b, j, d);
              value += w * x;
              absolute += w * std::fabs(x);
              all += std::fabs(x);
              largest = std::max(largest, std::fabs(x));
            }
            const double bound = relative * largest + unit * (1.0 + unit) * absolute +
                                 least * all / sum + unit * std::fabs(value) + least;
            const double share = std::fabs(o.get(b, i, d) - value) / bound;
            if (share <= worst) continue;
            worst = std::isnan(share) ? HUGE_VAL : share;
            text = "o[" + std::to_string(b) + ", " + std::to_string(i) + ", " + std::to_string(d) +
                   "] = " + std::to_string(o.get(b, i, d)) + ", want " + std::to_string(value) +
                   ": " + std::to_string(worst) + " times the bound";
          }
        }
      }
    }
    check(worst <= 1.0, text.c_str(), __FILE__, __LINE__);
  }
};

}  // namespace tokenfuse::test
