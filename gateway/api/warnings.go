package api

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/lifecycle"
)

// warning tells whoever submitted of something that is allowed, and hardly what was meant.
type warning struct {
	Code    string `json:"code"`
	Route   string `json:"route"`
	Message string `json:"message"`
}

const (
	warnNoProcessor = "no-processor"
	mostWarnings    = 10 // in one answer
)

// unserved warns of those of the routes on which nobody works. That may be as it should be: work
// waits until somebody comes.
func (a *API) unserved(routes []string) []warning {
	if a.Unserved == nil {
		return nil
	}
	without := a.Unserved(routes...)
	if len(without) == 0 {
		return nil
	}
	without = without[:min(len(without), mostWarnings)]
	all := a.Unserved(a.Routes...)
	served := slices.DeleteFunc(slices.Clone(a.Routes), func(route string) bool { return slices.Contains(all, route) })
	elsewhere := "No route has one."
	if len(served) > 0 {
		elsewhere = "Routes that have one: " + field.Names(served) + "."
	}
	warnings := make([]warning, len(without))
	for i, route := range without {
		warnings[i] = warning{warnNoProcessor, route, fmt.Sprintf("No processor works on the route %q now; the request waits for one until it expires. "+
			"Processors take work by POST /v1/work/lease or with the Go SDK. %s", route, elsewhere)}
	}
	return warnings
}

// withWarnings puts warnings into a status document.
func withWarnings(document []byte, warnings []warning) []byte {
	if len(warnings) == 0 {
		return document
	}
	list, err := json.Marshal(warnings)
	if err != nil { // they are plain values
		panic(err)
	}
	document = slices.Clone(document[:len(document)-1]) // what is stored of the answer is without
	return append(append(append(document, `,"warnings":`...), list...), '}')
}

// routesOf returns the routes of requests, each once.
func routesOf(all []lifecycle.Submission) []string {
	var routes []string
	for i := range all {
		if !slices.Contains(routes, all[i].Route) {
			routes = append(routes, all[i].Route)
		}
	}
	return routes
}
