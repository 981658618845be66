package redis

import (
	"context"
	"hash/fnv"
	"strconv"

	"github.com/hark-push/hark/lifecycle"
)

// workingNumber is the score in processing of what is worked on of a route, so that it can be
// counted. It is not 0, and a double holds it exactly.
func workingNumber(route string) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(route))
	return sum.Sum64()>>12 | 1
}

// workingOf is that as the scripts take it.
func workingOf(route string) string { return strconv.FormatUint(workingNumber(route), 10) }

// Depths implements lifecycle.Depths. What a version has begun that numbered no routes is not
// counted until that has ended.
func (s *Store) Depths(ctx context.Context, routes []string) (map[string]lifecycle.Depth, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := make(map[string]lifecycle.Depth, len(routes))
	if len(routes) == 0 {
		return all, nil
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	args := make([]any, 0, 2*len(routes))
	for _, route := range routes {
		args = append(args, route, workingOf(route))
	}
	answers, err := s.runAll(bound, scripts.depths, func(int) []any { return args })
	if err != nil {
		return nil, failed(ctx, err)
	}
	// Tickets are times, so they tell over all partitions who was first.
	ids, oldest := make([]string, 0, len(routes)), make(map[string]string, len(routes))
	for i, route := range routes {
		var d lifecycle.Depth
		ticket, id := "", ""
		for _, answer := range answers {
			counts, err := answer.Numbers(1+4*i, 2)
			if err != nil {
				return nil, failed(ctx, err)
			}
			d.Pending += counts[0]
			d.Processing += counts[1]
			if its := answer.Text(3 + 4*i); its != "" && (ticket == "" || its < ticket) {
				ticket, id = its, answer.Text(4+4*i)
			}
		}
		all[route] = d
		if id != "" {
			ids = append(ids, id)
			oldest[id] = route
		}
	}
	if len(ids) == 0 {
		return all, nil
	}
	found, err := s.fetch(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		// Else it has gone on meanwhile.
		if route := oldest[r.ID]; r.Status == lifecycle.Pending && r.Route == route {
			d := all[route]
			d.Oldest = r.UpdatedAt
			all[route] = d
		}
	}
	return all, nil
}
