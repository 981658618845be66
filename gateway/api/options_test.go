package api

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestOptionsAreDocumented: what a resource takes in its query is what openapi.yaml says of it, and
// every path of the API stands in it.
func TestOptionsAreDocumented(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`:[a-z]+|\{[a-z]+\}`)
	documented := make(map[string][]string) // by method and path, whose parameters have no names
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			at := method + " " + parameter.ReplaceAllString(path, "{}")
			documented[at] = []string{}
			for _, p := range append(slices.Clone(item.Parameters), op.Parameters...) {
				if p.Value.In == openapi3.ParameterInQuery {
					documented[at] = append(documented[at], p.Value.Name)
				}
			}
			if op.Security == nil {
				continue
			}
			for _, requirement := range *op.Security {
				for name := range requirement {
					if s := doc.Components.SecuritySchemes[name].Value; s.In == openapi3.ParameterInQuery {
						documented[at] = append(documented[at], s.Name)
					}
				}
			}
		}
	}
	resources := New(Options{}).takes
	if len(resources) < 30 {
		t.Fatalf("%d resources", len(resources))
	}
	for at, options := range resources {
		if slices.Equal(options, []string{anyOption}) {
			continue // a call, whose query is the processor's
		}
		plain := parameter.ReplaceAllString(at, "{}")
		of, ok := documented[plain]
		if !ok {
			t.Errorf("%s is not documented", at)
			continue
		}
		taken, said := slices.Sorted(slices.Values(options)), slices.Sorted(slices.Values(of))
		if !slices.Equal(taken, said) {
			t.Errorf("%s takes %v, its document says %v", at, taken, said)
		}
		delete(documented, plain)
	}
	for _, at := range slices.Sorted(maps.Keys(documented)) {
		if _, path, _ := strings.Cut(at, " "); strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v1/call/") && !strings.HasPrefix(path, "/v1/stream/") && !strings.HasPrefix(at, "HEAD ") {
			t.Errorf("%s is documented, and takes what nobody knows", at)
		}
	}
}
