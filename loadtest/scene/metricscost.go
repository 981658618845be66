package scene

import (
	"fmt"
	"slices"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// metricsCost puts the same load on the gateway with its metrics and without, in turns, each on a
// gateway that was started for it, and returns the medians of both and how they compare. Which of
// the two is first alternates, so that what changes with time is in both.
func (s *Lifecycle) metricsCost(t *peer.Target, h *peer.Hark) (measure.Results, error) {
	if len(h.Addrs) > 1 {
		return measure.Results{}, fmt.Errorf("--metrics-turns is for one gateway, not %d", len(h.Addrs))
	}
	ways := []struct{ name, flag string }{{"on", "--metrics"}, {"off", "--no-metrics"}}
	var names []bench.Figure // as the first turn has them, for order and unit
	values := make(map[string][]float64)
	for turn := range s.MetricsTurns {
		for i := range ways {
			way := ways[(turn+i)%len(ways)]
			t.Timed(fmt.Sprintf("turn %d of %d, metrics %s", turn+1, s.MetricsTurns, way.name), settle+s.Duration)
			if err := h.Restart(t, way.flag); err != nil {
				return measure.Results{}, err
			}
			measured, err := s.load(t, h, fmt.Sprintf("turn%d-%s-producer", turn, way.name))
			if err != nil {
				return measure.Results{}, err
			}
			if names == nil {
				names = measured.Figures
			}
			for _, f := range measured.Figures {
				values[f.Name+way.name] = append(values[f.Name+way.name], f.Value)
			}
		}
	}
	var all measure.Results
	for _, f := range names {
		on, off := values[f.Name+"on"], values[f.Name+"off"]
		all.Figures = append(all.Figures,
			measure.Figure("metrics on: "+f.Name, median(on), f.Unit),
			measure.Figure("metrics off: "+f.Name, median(off), f.Unit))
		if f.Name == completedPerSecond || slices.ContainsFunc(t.Processes, func(p peer.Process) bool { return f.Name == cpuPerCompleted+p.Name }) {
			// Each turn is compared with itself: a machine that gets slower is no difference.
			ratios := make([]float64, len(on))
			for i := range on {
				ratios[i] = on[i] / off[i]
			}
			all.Figures = append(all.Figures,
				measure.Figure("metrics on by off: "+f.Name, median(ratios), ""),
				measure.Figure("metrics on by off, deviation: "+f.Name, deviation(ratios), ""))
		}
	}
	return all, nil
}
