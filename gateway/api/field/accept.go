// Package field reads single values that callers send: in header fields, in queries, and in JSON.
// It knows nothing of a call.
package field

import (
	"strconv"
	"strings"
)

// Accepted returns the one of the offered media types that the Accept fields of a request
// like best (RFC 9110, section 12.5.1), "" if they refuse all. Of those that are liked the same
// the one that is named first counts, then the one that is offered first. Parameters of a
// type mean nothing here: what is offered has none.
func Accepted(fields [][]byte, offers []string) string {
	var ranges []string
	for _, field := range fields {
		for _, item := range SplitUnquoted(string(field), ',') {
			if strings.TrimSpace(item) != "" {
				ranges = append(ranges, item)
			}
		}
	}
	if len(ranges) == 0 {
		return offers[0]
	}
	var best string
	var bestQuality float64
	var bestAt int
	for _, offer := range offers {
		kind, _, _ := strings.Cut(offer, "/")
		quality, at, specific := 0.0, 0, 0
		for i, item := range ranges {
			parts := SplitUnquoted(item, ';')
			matched := 0
			switch strings.ToLower(strings.TrimSpace(parts[0])) {
			case offer:
				matched = 3
			case kind + "/*":
				matched = 2
			case "*/*":
				matched = 1
			}
			if matched > specific {
				// The most specific range decides, so that q=0 takes a type out of */*.
				quality, at, specific = qualityOf(parts[1:]), i, matched
			}
		}
		if quality > bestQuality || quality > 0 && quality == bestQuality && at < bestAt {
			best, bestQuality, bestAt = offer, quality, at
		}
	}
	return best
}

// qualityOf returns the weight among the parameters of a media range; one that cannot be read is 1.
func qualityOf(params []string) float64 {
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
				return q
			}
		}
	}
	return 1
}
