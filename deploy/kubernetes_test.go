package deploy_test

import (
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/gateway/config"
)

// manifest is what the tests look at of one of Kubernetes.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector       any
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Metrics        []struct {
			Pods struct{ Metric struct{ Name string } }
		}
		Ports []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []container
			}
		}
	}
}

type container struct {
	Name          string
	Image         string
	Command, Args []string
	Env           []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	StartupProbe   probe `yaml:"startupProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	Lifecycle      struct {
		PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// manifests returns those of deploy/kubernetes that are applied, by kind and name.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	var k struct{ Resources []string }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/kustomization.yaml")), &k); err != nil {
		t.Fatal(err)
	}
	there, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(there) != len(k.Resources)+1 {
		t.Errorf("%v are there, %v are applied; %v", there, k.Resources, err)
	}
	all := make(map[string]manifest)
	for _, name := range k.Resources {
		for d := yaml.NewDecoder(strings.NewReader(read(t, "deploy/kubernetes/"+name))); ; {
			var m manifest
			if err := d.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(name, err)
			}
			all[m.Kind+" "+m.Metadata.Name] = m
		}
	}
	return all
}

// TestKubernetes: what is applied fits together, and the programs that it starts: they know their
// variables, have the time that they take to stop, and tell the metrics by which they are scaled.
func TestKubernetes(t *testing.T) {
	all := manifests(t)
	gatewayKnows := make(map[string]bool)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		gatewayKnows[field.Tag.Get("env")] = true
	}
	workerKnows := sourceOf(t, "processor", "backends")
	told := sourceOf(t, "gateway/node", "processor", "backends")
	for _, part := range []string{"gateway", "worker"} {
		deployment, ok := all["Deployment hark-"+part]
		if !ok {
			t.Fatalf("there is no Deployment hark-%s", part)
		}
		pod := deployment.Spec.Template
		c := pod.Spec.Containers[0]
		ports := make(map[string]bool)
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		for what, p := range map[string]probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			want := "/health/live"
			if what == "readiness" {
				want = "/health/ready"
			}
			if p.HTTPGet.Path != want || !ports[p.HTTPGet.Port] {
				t.Errorf("%s: its %s is %+v", part, what, p)
			}
		}
		values := make(map[string]string)
		for _, v := range c.Env {
			if strings.HasPrefix(v.Name, "HARK_") && !gatewayKnows[v.Name] && !strings.Contains(workerKnows, `env:"`+v.Name+`"`) {
				t.Errorf("the %s does not know %s", part, v.Name)
			}
			if strings.Contains(v.Value, "://") || (v.Value == "") == (v.ValueFrom.SecretKeyRef.Name == "") {
				t.Errorf("%s has %+v, which may be a secret, or is nothing", part, v)
			}
			values[v.Name] = v.Value
		}
		// The gateway lets calls go on for 10 s more than it drains.
		if grace := time.Duration(pod.Spec.Grace-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second; grace < duration(t, values["HARK_DRAIN"])+15*time.Second {
			t.Errorf("%s is killed %v after SIGTERM, and drains for %s", part, grace, values["HARK_DRAIN"])
		}
		labels := map[string]any{"matchLabels": asAny(pod.Metadata.Labels)}
		for _, other := range []manifest{deployment, all["PodDisruptionBudget hark-"+part]} {
			if !reflect.DeepEqual(other.Spec.Selector, labels) {
				t.Errorf("the %s of the %s is for %v, not %v", other.Kind, part, other.Spec.Selector, labels)
			}
		}
		scaler := all["HorizontalPodAutoscaler hark-"+part].Spec
		if scaler.ScaleTargetRef.Kind != "Deployment" || scaler.ScaleTargetRef.Name != "hark-"+part {
			t.Errorf("the %s is scaled by %+v", part, scaler.ScaleTargetRef)
		}
		if name := scaler.Metrics[0].Pods.Metric.Name; name == "" || !strings.Contains(told, `"`+name+`"`) {
			t.Errorf("the %s is scaled by %q, which it does not tell", part, name)
		}
	}

	gateway := all["Deployment hark-gateway"].Spec.Template
	for _, v := range gateway.Spec.Containers[0].Env {
		if strings.HasPrefix(v.Name, "HARK_") && v.Name != "HARK_KEYS" {
			t.Setenv(v.Name, v.Value+map[string]string{"HARK_REDIS": "redis://redis/0", "HARK_AMQP": "amqp://rabbitmq/"}[v.Name])
		}
	}
	_, entry, err := (&config.Config{NewKey: "someone"}).NewKeyEntry()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, keys, entry)
	t.Setenv("HARK_KEYS", keys)
	c, err := config.Parse(gateway.Spec.Containers[0].Args, io.Discard)
	if err != nil || c.Samples || c.Listen != "0.0.0.0:8080" || c.Insecure {
		t.Errorf("%+v, %v", c, err)
	}
	service := all["Service hark"].Spec
	if !reflect.DeepEqual(service.Selector, asAny(gateway.Metadata.Labels)) || len(service.Ports) != 1 || service.Ports[0].TargetPort != "http" {
		t.Errorf("%+v", service)
	}
}

func asAny(of map[string]string) map[string]any {
	all := make(map[string]any)
	for key, value := range of {
		all[key] = value
	}
	return all
}

// sourceOf is that of all Go files below some folders.
func sourceOf(t *testing.T, folders ...string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		for _, pattern := range []string{"*.go", "*/*.go", "*/*/*.go"} {
			paths, err := filepath.Glob(filepath.Join(root, folder, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range slices.Sorted(slices.Values(paths)) {
				all.WriteString(read(t, strings.TrimPrefix(path, root+"/")))
			}
		}
	}
	return all.String()
}
