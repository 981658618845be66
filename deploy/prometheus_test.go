package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/hark-push/hark/servertest"
)

// alertRule is what is read of one in alerts.yml.
type alertRule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal([]byte(read(t, "deploy/prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// TestAlerts: promtool takes the alerts and the configuration, each alert is raised by what it is
// about and by nothing else, and each says what to do.
func TestAlerts(t *testing.T) {
	rules := alertRules(t)
	if len(rules) < 20 {
		t.Fatalf("%d alerts", len(rules))
	}
	tests := read(t, "deploy/prometheus/alerts_test.yml")
	for _, r := range rules {
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, severity)
		}
		if summary := r.Annotations["summary"]; summary == "" || strings.HasSuffix(summary, ".") {
			t.Errorf("%s: the summary is %q, which is to be a line without a stop", r.Alert, summary)
		}
		if description := r.Annotations["description"]; len(description) < 80 || !strings.HasSuffix(description, ".") {
			t.Errorf("%s does not say what to do: %q", r.Alert, description)
		}
		if !strings.Contains(tests, `alertname="`+r.Alert+`"`) {
			t.Errorf("no test raises %s", r.Alert)
		}
	}
	folder := filepath.Join(root, "deploy", "prometheus")
	for _, args := range [][]string{
		{"check", "rules", filepath.Join(folder, "alerts.yml")},
		{"check", "config", filepath.Join(folder, "prometheus.yml")},
		{"test", "rules", filepath.Join(folder, "alerts_test.yml")},
	} {
		if said, ok := servertest.Promtool(t, nil, args...); !ok {
			t.Errorf("promtool %s: %s", strings.Join(args, " "), said)
		}
	}
}

// dashboard is what is read of one of Grafana.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ H, W, X, Y int }
		Datasource               struct{ UID string }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct{ RefID, Expr, LegendFormat string }
	}
}

// TestDashboard: the dashboard is one, as far as that can be told without Grafana. Its panels are
// what its grid has room for, each has queries that Prometheus can parse, over variables that there
// are.
func TestDashboard(t *testing.T) {
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/hark.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID != "hark" || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	for _, name := range []string{"datasource", "instance", "route"} {
		if !variables[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
	ids, taken, rules := make(map[int]bool), make(map[[2]int]string), "groups:\n- name: queries\n  rules:\n"
	queries := 0
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d, %q: its id is another one's, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.X < 0 || g.W < 1 || g.X+g.W > 24 || g.H < 1 {
			t.Errorf("%s: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Type != "timeseries" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			if refs[target.RefID] || target.RefID == "" || target.LegendFormat == "" {
				t.Errorf("%s: %+v", p.Title, target)
			}
			refs[target.RefID] = true
			for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[m[1]] {
					t.Errorf("%s: there is no variable %s", p.Title, m[1])
				}
			}
			queries++
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$route", ".*").Replace(target.Expr)
			rules += fmt.Sprintf("  - {record: 'query:%d', expr: '%s'}\n", queries, strings.ReplaceAll(expr, "'", "''"))
		}
	}
	if queries < 40 {
		t.Errorf("%d queries", queries)
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, ok := servertest.Promtool(t, nil, "check", "rules", file); !ok {
		t.Errorf("%s", said)
	}
}
