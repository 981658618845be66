package field

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrDuration: a text is no duration.
var ErrDuration = errors.New(`want a duration like "90s", "1h30m" or "PT90S"`)

var errSeconds = errors.New(`want a whole number of seconds, or a duration like "90s", "1h30m" or "PT90S"`)

// ParseSeconds reads a duration in JSON: a string that ParseDuration reads, or a whole number of
// seconds.
func ParseSeconds(raw []byte) (time.Duration, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		d, err := ParseDuration(text)
		if err != nil {
			return 0, errSeconds
		}
		return d, nil
	}
	n, err := ParseInteger(string(raw))
	if err != nil || n < 0 || n > int(math.MaxInt64/time.Second) {
		return 0, errSeconds
	}
	return time.Duration(n) * time.Second, nil
}

// DurationForm is what a duration looks like, as openapi.yaml has it: without a sign, and in ISO
// 8601 with a fraction of seconds only, and weeks by themselves.
var DurationForm = regexp.MustCompile(`^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+|` +
	`P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+([.,][0-9]+)?S)?)?))$`)

// ParseDuration reads a duration as Go writes it ("1h30m") or in ISO 8601
// ("PT1H30M", "P2D", "P1W"). Years and months have no fixed length and are refused.
func ParseDuration(s string) (time.Duration, error) {
	if !DurationForm.MatchString(s) {
		return 0, ErrDuration
	}
	if !strings.HasPrefix(s, "P") {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, ErrDuration
		}
		return d, nil
	}
	rest := s[1:]
	if rest == "" || strings.HasSuffix(rest, "T") {
		return 0, ErrDuration
	}
	var seconds float64
	units := "WDHMS"
	inTime := false
	for rest != "" {
		if rest[0] == 'T' {
			if inTime {
				return 0, ErrDuration
			}
			inTime, rest = true, rest[1:]
		}
		n := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != ',' })
		if n <= 0 {
			return 0, ErrDuration
		}
		value, err := strconv.ParseFloat(strings.Replace(rest[:n], ",", ".", 1), 64)
		at := strings.IndexByte(units, rest[n])
		if err != nil || at < 0 || inTime != (units[at] == 'H' || units[at] == 'M' || units[at] == 'S') {
			return 0, ErrDuration
		}
		scale := map[byte]float64{'W': 7 * 24 * 3600, 'D': 24 * 3600, 'H': 3600, 'M': 60, 'S': 1}[units[at]]
		seconds += value * scale
		units, rest = units[at+1:], rest[n+1:]
	}
	if seconds > math.MaxInt64/1e9 {
		return 0, ErrDuration
	}
	return time.Duration(seconds * 1e9), nil
}
