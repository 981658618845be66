package scene

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hark-push/hark/loadtest/bench"
	"github.com/hark-push/hark/loadtest/measure"
	"github.com/hark-push/hark/loadtest/peer"
)

// metricsCost puts the same load on two gateways at the same time, one with its metrics and one
// without, in turns, each on gateways that were started for it, and returns the medians of both and
// how they compare. Side by side, because a machine that is shared changes by more from one minute
// to the next than there is to be seen. Which of the two is started first alternates.
func (s *Lifecycle) metricsCost(t *peer.Target, h *peer.Hark) (measure.Results, error) {
	if h.Redis != "" {
		return measure.Results{}, errors.New("--metrics-turns is for the embedded store: two gateways on one Redis work for each other")
	}
	ways := []struct{ name, flag string }{{"on", "--metrics"}, {"off", "--no-metrics"}}
	var names []bench.Figure // as the first turn has them, for order and unit
	values := make(map[string][]float64)
	for turn := range s.MetricsTurns {
		t.Timed(fmt.Sprintf("turn %d of %d", turn+1, s.MetricsTurns), settle+s.Duration)
		var twins [2]*peer.Target
		var measured [2]measure.Results
		var failed [2]error
		for i := range ways {
			n := (turn + i) % len(ways)
			twins[n], failed[n] = h.Twin(ways[n].flag)
		}
		if errors.Join(failed[:]...) == nil {
			var both sync.WaitGroup
			for n, twin := range twins {
				both.Go(func() {
					measured[n], failed[n] = s.load(twin, twin.Peer.(*peer.Hark), "producer")
				})
			}
			both.Wait()
		}
		for n, twin := range twins {
			if twin != nil {
				failed[n] = errors.Join(failed[n], twin.Stop())
			}
		}
		if err := errors.Join(failed[:]...); err != nil {
			return measure.Results{}, err
		}
		names = measured[0].Figures
		for n, way := range ways {
			for _, f := range measured[n].Figures {
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
