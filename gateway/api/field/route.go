package field

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hark-push/hark/lifecycle/suggest"
)

// UnknownRoute says of a name that it is no route, and which there are.
func UnknownRoute(name string, routes map[string]bool) string {
	all := slices.Sorted(maps.Keys(routes))
	return "is not a route of this gateway" + suggest.Mean(name, all) + "; its routes, which --routes names, are " + Names(all)
}

// Names lists names, the first of them if there are many.
func Names(all []string) string {
	const most = 20
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}
