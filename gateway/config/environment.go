package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/hark-push/hark/lifecycle/suggest"
)

// others are the variables that begin like those of the gateway and are other programs': of
// docker-compose.yml and deploy/, of README's commands, and of the tests.
var others = []string{
	"HARK_BIND", "HARK_PORT", "HARK_KEYS_DIR", "HARK_DEMO_URL", // docker-compose.yml
	"HARK_WORKER_LISTEN",
	// README, loadtest and make have these.
	"HARK_KEY", "HARK_URL", "HARK_NODE", "HARK_SEED", "HARK_PATIENCE", "HARK_CHAOS",
	"HARK_GATEWAY", "HARK_FOLLOW", "HARK_RECEIVERS", "HARK_SEEN", "HARK_SECRET", // clienttest
}

// otherKinds are those of tests, and what Docker and Kubernetes say of services whose name begins
// with hark.
var otherKinds = regexp.MustCompile(`^HARK_(TEST_|REQUIRE_|BOLT_TEST_)|_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// Stray is a variable of the environment that looks like one of the gateway's, and is not.
type Stray struct {
	Name  string
	Meant string // the one that is likely to be meant, "" if none is close
}

// Strays returns those of an environment, as [os.Environ] gives it, by name. Their values, which
// may be secret, are not looked at.
func Strays(environment []string) []Stray {
	var known []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if name := f.Tag.Get("env"); name != "" {
			known = append(known, name)
		}
	}
	var strays []Stray
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "HARK_") || slices.Contains(known, name) || slices.Contains(others, name) || otherKinds.MatchString(name) {
			continue
		}
		strays = append(strays, Stray{name, suggest.Name(name, known)})
	}
	slices.SortFunc(strays, func(a, b Stray) int { return strings.Compare(a.Name, b.Name) })
	return strays
}
