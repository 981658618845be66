package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// The oldest Kubernetes that deploy/README.md promises, and who has what its servers say of their
// types: a module that carries that of several versions. It is got by its checksum and not built,
// which would take minutes.
const (
	oldest     = "1.30"
	schemas    = "sigs.k8s.io/kubectl-validate@v0.0.4"
	schemasSum = "h1:tGKuv0awYHn11Cb6KPsZKxUmHgavF46K3NvVH0Nse9U="
)

// kinds are what the newest version has, by the types of its own clients.
var kinds = sync.OnceValue(func() *runtime.Scheme {
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, autoscalingv2.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme} {
		if err := add(all); err != nil {
			panic(err)
		}
	}
	return all
})

// openAPI returns the folder with the OpenAPI documents of the oldest version.
var openAPI = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", schemas).Output()
	var module struct{ Dir, Sum, Error string }
	if e := json.Unmarshal(out, &module); e != nil {
		return "", fmt.Errorf("go mod download %s: %w, %w", schemas, err, e)
	}
	if module.Error != "" || module.Sum != schemasSum {
		return "", fmt.Errorf("go mod download %s: %s, sum %s", schemas, module.Error, module.Sum)
	}
	return filepath.Join(module.Dir, "pkg", "openapiclient", "builtins", oldest), nil
})

// strict has every object that names its members have no others: a server drops those, or refuses
// the object (kubectl's --validate=strict, which is the default).
func strict(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, ok := node["properties"]; ok && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, member := range node {
			strict(member)
		}
	case []any:
		for _, element := range node {
			strict(element)
		}
	}
}

var compiled = make(map[schema.GroupVersionKind]*jsonschema.Schema)

// schemaOf returns what the oldest version says of a kind.
func schemaOf(kind schema.GroupVersionKind) (*jsonschema.Schema, error) {
	if s, ok := compiled[kind]; ok {
		return s, nil
	}
	folder, err := openAPI()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "apis", kind.Group, kind.Version+".json")
	if kind.Group == "" {
		path = filepath.Join(folder, "api", kind.Version+".json")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	types := document.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	strict(types)
	for name, about := range types {
		names, _ := about.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
		for _, n := range names {
			n := n.(map[string]any)
			if n["group"] != kind.Group || n["version"] != kind.Version || n["kind"] != kind.Kind {
				continue
			}
			c := jsonschema.NewCompiler()
			if err := c.AddResource("openapi.json", document); err != nil {
				return nil, err
			}
			s, err := c.Compile("openapi.json#/components/schemas/" + name)
			compiled[kind] = s
			return s, err
		}
	}
	return nil, fmt.Errorf("Kubernetes %s has no %v", oldest, kind)
}

// enums are the constants of types, by package and name, and so their values: published schemas
// name none. Types whose values are anybody's (names of resources) are among them, so a manifest
// with one of its own would have to be excepted here.
var enums = sync.OnceValues(func() (map[[2]string][]string, error) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.Dir}}", "k8s.io/api/apps/v1", "k8s.io/api/autoscaling/v2", "k8s.io/api/core/v1", "k8s.io/api/policy/v1").Output()
	if err != nil {
		return nil, err
	}
	all := make(map[[2]string][]string)
	for line := range strings.Lines(string(out)) {
		pkg, folder, _ := strings.Cut(strings.TrimSpace(line), " ")
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, "types.go"), nil, 0)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			of, ok := n.(*ast.ValueSpec)
			if !ok || len(of.Values) != 1 {
				return true
			}
			name, typed := of.Type.(*ast.Ident)
			value, literal := of.Values[0].(*ast.BasicLit)
			if typed && literal && value.Kind == token.STRING {
				text, _ := strconv.Unquote(value.Value)
				all[[2]string{pkg, name.Name}] = append(all[[2]string{pkg, name.Name}], text)
			}
			return true
		})
	}
	return all, nil
})

// checkValues returns which values of an object are none of their type's.
func checkValues(of reflect.Value) error {
	known, err := enums()
	if err != nil {
		return err
	}
	switch of.Kind() {
	case reflect.Pointer:
		if !of.IsNil() {
			return checkValues(of.Elem())
		}
	case reflect.Struct:
		for i := range of.NumField() {
			if of.Type().Field(i).IsExported() {
				err = errors.Join(err, checkValues(of.Field(i)))
			}
		}
	case reflect.Slice:
		for i := range of.Len() {
			err = errors.Join(err, checkValues(of.Index(i)))
		}
	case reflect.String:
		values := known[[2]string{of.Type().PkgPath(), of.Type().Name()}]
		if len(values) > 0 && of.String() != "" && !slices.Contains(values, of.String()) {
			return fmt.Errorf("%q is no %s, which are %v", of, of.Type(), values)
		}
	}
	return err
}

// check returns what is wrong with a manifest: by the types of the newest version, which know what
// values there are, quantities too, and by the schema of the oldest.
func check(text []byte) error {
	var about struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(text, &about); err != nil {
		return err
	}
	kind := schema.FromAPIVersionAndKind(about.APIVersion, about.Kind)
	object, err := kinds().New(kind)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		return fmt.Errorf("%v: %w", kind, err)
	}
	if err := checkValues(reflect.ValueOf(object)); err != nil {
		return fmt.Errorf("%v: %w", kind, err)
	}
	s, err := schemaOf(kind)
	if err != nil {
		return err
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return err
	}
	if err := s.Validate(value); err != nil {
		return fmt.Errorf("%v, in Kubernetes %s: %w", kind, oldest, err)
	}
	return nil
}

// documents returns those of a file of manifests.
func documents(t *testing.T, name string) (all [][]byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range strings.Split(string(text), "\n---\n") {
		all = append(all, []byte(one))
	}
	return all
}

// TestManifests: each manifest, as it is written and as `kubectl apply -k` makes it of that, is one
// to the oldest version of Kubernetes that is promised and to the newest.
func TestManifests(t *testing.T) {
	written := 0
	for _, name := range []string{"gateway.yaml", "worker.yaml"} {
		for _, one := range documents(t, name) {
			if written++; bytes.Contains(one, []byte("\t")) {
				t.Errorf("%s has a tab", name)
			}
			if err := check(one); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	if made.Size() != written {
		t.Errorf("%d manifests are applied, %d are written", made.Size(), written)
	}
	for _, one := range made.Resources() {
		text, err := one.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Error(err)
		}
		if one.GetNamespace() != "hark" {
			t.Errorf("%s is in the namespace %q", one.CurId(), one.GetNamespace())
		}
		if strings.Contains(string(text), "image: hark\n") {
			t.Errorf("%s: where the image is does not reach it", one.CurId())
		}
	}
}

// TestManifestsMistaken: what is wrong is found, or the test before would show nothing.
func TestManifestsMistaken(t *testing.T) {
	all := strings.Join([]string{string(bytes.Join(documents(t, "gateway.yaml"), []byte("\n---\n"))), string(bytes.Join(documents(t, "worker.yaml"), []byte("\n---\n")))}, "\n---\n")
	for what, change := range map[string][2]string{
		"a member that is misspelt":    {"minReplicas: 2", "minReplica: 2"},
		"a member that is there twice": {"maxReplicas: 20", "maxReplicas: 20\n  maxReplicas: 30"},
		"another type":                 {"terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 45s"},
		"no quantity":                  {"averageValue: 10k", "averageValue: 10 thousand"},
		"no such value":                {"AlwaysAllow", "Always"},
		"no such metric":               {"type: AverageValue", "type: Average"},
		"no such seccomp profile":      {"RuntimeDefault", "Default"},
		"no such kind":                 {"kind: HorizontalPodAutoscaler", "kind: Autoscaler"},
		"no such version":              {"autoscaling/v2", "autoscaling/v2beta2"},
		"what must be there":           {"  maxReplicas: 20\n", ""},
		"what came later":              {"      serviceAccountName: hark\n", "      serviceAccountName: hark\n      hostnameOverride: hark\n"},
		"what is of another level":     {"  template:\n", "  terminationGracePeriodSeconds: 45\n  template:\n"},
	} {
		changed := strings.Replace(all, change[0], change[1], 1)
		if changed == all {
			t.Errorf("%s: %q is not there", what, change[0])
		}
		var found error
		for one := range strings.SplitSeq(changed, "\n---\n") {
			if err := check([]byte(one)); err != nil {
				found = err
			}
		}
		if found == nil {
			t.Errorf("nobody minds %s", what)
		}
		t.Logf("%s: %v", what, found)
	}
}
