package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hark-push/hark/lifecycle/suggest"
	"github.com/hark-push/hark/settings"
)

// mostAtOnce is how many requests of a route a limit may let be worked on at the same time.
const mostAtOnce = 1_000_000

// AtOnce reads what was checked: how many requests of which route.
func (c *Config) AtOnce(entries []string) map[string]int {
	limits := make(map[string]int, len(entries))
	for _, entry := range entries {
		route, number, _ := strings.Cut(entry, "=")
		limits[route], _ = strconv.Atoi(number)
	}
	return limits
}

// checkConcurrency returns a [*settings.Error] unless each entry limits a route that there is,
// once.
func (c *Config) checkConcurrency() error {
	for key, entries := range map[string][]string{"route-concurrency": c.RouteConcurrency, "key-concurrency": c.KeyConcurrency} {
		seen := make(map[string]bool)
		for _, entry := range entries {
			route, number, ok := strings.Cut(entry, "=")
			n, err := strconv.Atoi(number)
			switch {
			case !ok || err != nil || n < 1 || n > mostAtOnce:
				return settings.NotAllowed(key, entry, "ROUTE=N, like images=4, with N from 1 to "+strconv.Itoa(mostAtOnce))
			case !slices.Contains(c.Routes, route):
				return settings.NotAllowed(key, entry, "a route of --routes"+suggest.Mean(route, c.Routes)+": "+strings.Join(c.Routes, ", "))
			case seen[route]:
				return settings.NotAllowed(key, entry, "each route once")
			}
			seen[route] = true
		}
	}
	return nil
}
