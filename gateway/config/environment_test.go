package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/gateway/config"
)

// TestStrays: a variable that nobody reads is told with the one that was meant; those of the house,
// of Docker and of Kubernetes are not.
func TestStrays(t *testing.T) {
	environment := []string{
		"PATH=/bin", "HARK_LISTEN=x", "HARK_LISEN=secret", "HARK_MAXBODY=1", "HARK_COLOR=red", "hark_listen=x", "HARK_TEST_BACKENDS=shared", "HARK_REQUIRE_SERVERS=1",
		// A Service "hark", and one "hark-redis".
		"HARK_SERVICE_HOST=10.0.0.1", "HARK_SERVICE_PORT=80", "HARK_SERVICE_PORT_HTTP=80", "HARK_PORT=tcp://10.0.0.1:80", "HARK_PORT_80_TCP=tcp://10.0.0.1:80",
		"HARK_PORT_80_TCP_PROTO=tcp", "HARK_REDIS_SERVICE_HOST=10.0.0.2", "HARK_REDIS_PORT_6379_TCP_ADDR=10.0.0.2",
	}
	want := []config.Stray{{"HARK_COLOR", ""}, {"HARK_LISEN", "HARK_LISTEN"}, {"HARK_MAXBODY", "HARK_MAX_BODY"}}
	if got := config.Strays(environment); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestNoStraysInTheHouse: what other programs of the house are told by the environment is known.
func TestNoStraysInTheHouse(t *testing.T) {
	variable := regexp.MustCompile(`HARK_[A-Z][A-Z_]*[A-Z]`)
	found := make(map[string]string)
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") && name != ".." || name == "node_modules" || name == "bin" || name == "testdata" || name == "data") {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || strings.HasPrefix(name, "environment") || strings.HasPrefix(name, "mistakes") || name == "CHANGELOG.md" {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, v := range variable.FindAllString(string(text), -1) {
			found[v] = path
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(found) < 60 {
		t.Fatalf("only %d were found", len(found))
	}
	for v, path := range found {
		if strays := config.Strays([]string{v + "=x"}); len(strays) > 0 {
			t.Errorf("%s, as in %s, would be told as a mistake", v, path)
		}
	}
}
