// Package deploy holds no code, only what the program is run with. Its tests see to it that
// this fits the program: settings that exist, metrics that are served, pages that answer.
package deploy

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/leverstream/leverstream/internal/config"
)

// rendered is what kubectl apply -k would send.
type rendered struct {
	deployment appsv1.Deployment
	service    corev1.Service
	budget     policyv1.PodDisruptionBudget
	settings   corev1.ConfigMap
	claim      corev1.PersistentVolumeClaim
}

// render renders a kustomization and reads what comes of it into the types of the API,
// which have no field for a typing error.
func render(t *testing.T, dir string) (r rendered) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]any{
		"Deployment": &r.deployment, "Service": &r.service, "PodDisruptionBudget": &r.budget, "ConfigMap": &r.settings, "PersistentVolumeClaim": &r.claim,
	}
	for _, res := range resources.Resources() {
		text, err := res.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		into := kinds[res.GetKind()]
		if into == nil {
			t.Fatalf("a %s that this test does not know", res.GetKind())
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %v", res.GetKind(), err)
		}
	}
	return r
}

func TestThePodIsConfinedAndProbed(t *testing.T) {
	for _, dir := range []string{"kubernetes/base", "kubernetes/volume"} {
		r := render(t, dir)
		pod := r.deployment.Spec.Template.Spec
		if len(pod.Containers) != 1 {
			t.Fatalf("%s: %d containers", dir, len(pod.Containers))
		}
		c := pod.Containers[0]
		switch s, p := c.SecurityContext, pod.SecurityContext; {
		case p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.RunAsUser == nil || *p.RunAsUser == 0:
			t.Errorf("%s: it may run as root", dir)
		case p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
			t.Errorf("%s: no seccomp profile", dir)
		case s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
			t.Errorf("%s: its root file system can be written", dir)
		case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation:
			t.Errorf("%s: it may gain privileges", dir)
		case s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") || len(s.Capabilities.Add) > 0:
			t.Errorf("%s: it keeps capabilities", dir)
		}
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: it gets a token of the cluster", dir)
		}
		for path, probe := range map[string]*corev1.Probe{"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != c.Ports[0].Name {
				t.Errorf("%s: no probe of %s", dir, path)
			}
		}
		if got := ":" + r.service.Spec.Ports[0].TargetPort.String(); got != ":"+c.Ports[0].Name || r.settings.Data["HTTP_ADDR"] != ":8080" || c.Ports[0].ContainerPort != 8080 {
			t.Errorf("%s: service, container and HTTP_ADDR do not meet", dir)
		}
		labels := r.deployment.Spec.Template.Labels
		for what, selector := range map[string]map[string]string{
			"deployment": r.deployment.Spec.Selector.MatchLabels, "service": r.service.Spec.Selector, "budget": r.budget.Spec.Selector.MatchLabels,
		} {
			if len(selector) == 0 {
				t.Errorf("%s: the %s selects every pod", dir, what)
			}
			for k, v := range selector {
				if labels[k] != v {
					t.Errorf("%s: the %s does not select the pod", dir, what)
				}
			}
		}
		// One owner, and a budget that does not block a drain for ever.
		if *r.deployment.Spec.Replicas != 1 || r.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType || r.budget.Spec.MaxUnavailable.IntValue() != 1 {
			t.Errorf("%s: replicas, strategy or budget", dir)
		}
	}
	if claim := render(t, "kubernetes/volume"); claim.deployment.Spec.Template.Spec.Volumes[1].PersistentVolumeClaim.ClaimName != claim.claim.Name {
		t.Error("the state is not on the volume")
	}
}

// Every object is one that the API of an old and of a new cluster takes, as its schemas
// have it, which also know what must be there and which values there are.
func TestTheManifestsFitTheSchemasOfKubernetes(t *testing.T) {
	tool := find(t, "kubernetes-validate", "TEST_KUBERNETES_VALIDATE")
	for _, dir := range []string{"kubernetes/base", "kubernetes/volume"} {
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := resources.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "manifests.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, version := range []string{"1.28", "1.36"} {
			out, err := exec.CommandContext(t.Context(), tool, "--strict", "-k", version, file).CombinedOutput()
			if err != nil || bytes.Count(out, []byte("passed for")) != resources.Size() {
				t.Errorf("%s, Kubernetes %s: %v\n%s", dir, version, err, out)
			}
		}
	}
}

func TestSettingsExistAndSecretsAreFiles(t *testing.T) {
	known := map[string]bool{}
	for _, v := range config.Variables() {
		known[v.Name] = true
		known[v.Name+"_FILE"] = v.File
		if v.File {
			known["secret "+v.Name] = true
		}
	}
	given := map[string]map[string]string{"kubernetes": {}, "systemd": {}}
	r := render(t, "kubernetes/base")
	c := r.deployment.Spec.Template.Spec.Containers[0]
	maps.Copy(given["kubernetes"], r.settings.Data)
	for _, e := range c.Env {
		given["kubernetes"][e.Name] = e.Value
	}
	for _, line := range unit(t)["Environment"] {
		for pair := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(pair, "=")
			given["systemd"][name] = value
		}
	}
	for where, variables := range given {
		for name, value := range variables {
			switch {
			case known["secret "+name]:
				t.Errorf("%s: %s holds a secret; use the file", where, name)
			case !known[name]:
				t.Errorf("%s: there is no variable %s", where, name)
			case value == "":
				t.Errorf("%s: %s is empty", where, name)
			}
		}
		for _, needed := range []string{"LEVER_TOKEN_FILE", "ADMIN_TOKEN_FILE", "STATE_DIR", "LOG_FORMAT"} {
			if variables[needed] == "" {
				t.Errorf("%s does not set %s", where, needed)
			}
		}
	}
	for _, m := range c.VolumeMounts {
		if m.Name == "secrets" && (!strings.HasPrefix(given["kubernetes"]["LEVER_TOKEN_FILE"], m.MountPath+"/") || !m.ReadOnly) {
			t.Errorf("the key is not where the secret is mounted, or can be written")
		}
	}
}

// unit reads the systemd unit: the values of its settings, by name.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("systemd/leverstream.service")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			out[name] = append(out[name], value)
		}
	}
	return out
}

func TestTheUnitDoesNotFightOverTheAccount(t *testing.T) {
	u := unit(t)
	if got := strings.Fields(u["RestartPreventExitStatus"][0]); !slices.Contains(got, "4") {
		t.Errorf("it restarts although another producer owns the account: %v", got)
	}
	if u["Restart"][0] != "always" || u["StateDirectory"] == nil {
		t.Error("it is not restarted, or has no state directory")
	}
	tool := find(t, "systemd-analyze", "TEST_SYSTEMD")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("systemd/leverstream.service")
	if err != nil {
		t.Fatal(err)
	}
	// What is verified includes that the program is there.
	copied := filepath.Join(t.TempDir(), "leverstream.service")
	if err := os.WriteFile(copied, bytes.ReplaceAll(text, []byte("/usr/local/bin/leverstream"), []byte(self)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", copied}, {"security", "--offline=yes", "--no-pager", "--threshold=11", copied}} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}

// find returns where a program is. The test is skipped without it, unless the variable
// says that it must be there.
func find(t *testing.T, name, variable string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv(variable) != "":
		t.Fatalf("%s is set, and there is no %s", variable, name)
	default:
		t.Skipf("there is no %s", name)
	}
	return path
}

var metricName = regexp.MustCompile(`\bleverstream_[a-z_]+`)

// served are the metrics that the documentation lists, which a test compares with what
// the program serves; a histogram stands for its three series.
func served(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(leverstream_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
		if m[2] == "histogram" {
			names[m[1]+"_bucket"], names[m[1]+"_sum"], names[m[1]+"_count"] = true, true, true
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %d metrics are documented", len(names))
	}
	return names
}

// rules are the alert rules.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func TestAlertsAreAboutMetricsThatExistAndSayWhatToDo(t *testing.T) {
	text, err := os.ReadFile("prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var r rules
	if err := yaml.UnmarshalStrict(text, &r); err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("prometheus/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	names := served(t)
	for _, rule := range r.Groups[0].Rules {
		for _, name := range metricName.FindAllString(rule.Expr, -1) {
			if !names[name] {
				t.Errorf("%s: there is no metric %s", rule.Alert, name)
			}
		}
		for _, a := range []string{"summary", "description", "runbook", "runbook_url"} {
			if rule.Annotations[a] == "" {
				t.Errorf("%s has no %s", rule.Alert, a)
			}
		}
		_, anchor, _ := strings.Cut(rule.Annotations["runbook_url"], "#")
		if !slices.Contains(anchors(string(manual)), anchor) {
			t.Errorf("%s: docs/operating.md has no heading for #%s", rule.Alert, anchor)
		}
		fires := regexp.MustCompile(`alertname: ` + rule.Alert + `\n\s+exp_alerts:\n`)
		silent := regexp.MustCompile(`alertname: ` + rule.Alert + `, exp_alerts: \[\]`)
		if !fires.Match(tests) || !silent.Match(tests) {
			t.Errorf("%s: no test in which it fires, or none in which it does not", rule.Alert)
		}
	}
	tool := find(t, "promtool", "TEST_PROMTOOL")
	for _, args := range [][]string{{"check", "rules", "prometheus/alerts.yml"}, {"test", "rules", "prometheus/alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// anchors are those of a document's headings.
func anchors(text string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		a := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(a, " ", "-"))
	}
	return out
}

// dashboard is the part of Grafana's model that is looked at.
type dashboard struct {
	UID        string `json:"uid"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID          int    `json:"id"`
		Title       string `json:"title"`
		Description string `json:"description"`
		GridPos     struct {
			X int `json:"x"`
			Y int `json:"y"`
			W int `json:"w"`
			H int `json:"h"`
		} `json:"gridPos"`
		Datasource struct {
			UID string `json:"uid"`
		} `json:"datasource"`
		FieldConfig struct {
			Defaults struct {
				Unit string `json:"unit"`
			} `json:"defaults"`
		} `json:"fieldConfig"`
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

func TestEveryPanelShowsMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("grafana/leverstream.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	names := served(t)
	shown := map[string]bool{}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, v := range d.Templating.List {
		for _, name := range metricName.FindAllString(string(v.Query), -1) {
			if !names[name] {
				t.Errorf("variable %s: there is no metric %s", v.Name, name)
			}
		}
	}
	for _, p := range d.Panels {
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: no title, description, unit, data source, target or id of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			found := metricName.FindAllString(target.Expr, -1)
			for _, name := range found {
				if shown[name] = true; !names[name] {
					t.Errorf("panel %q: there is no metric %s", p.Title, name)
				}
			}
			if len(found) == 0 || !strings.Contains(target.Expr, `account="$account"`) {
				t.Errorf("panel %q: %s is not about one account", p.Title, target.Expr)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beside the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(shown) < 20 {
		t.Errorf("only %d metrics are shown", len(shown))
	}
}
