package auth

import (
	"strings"
	"testing"
)

// TestWithoutKey: of a file of keys one entry goes, and all else stays as it stood.
func TestWithoutKey(t *testing.T) {
	entry := func(subject string) string {
		t.Helper()
		_, text, err := NewKey(subject, []string{"client"})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	one, two, three := entry("one"), entry("two"), entry("three")
	file := "# Ours.\n" + one + "# of the other team\n" + two + "\n# the last one\n" + three + "# the end\n"
	keys, err := ListKeys([]byte(file))
	if err != nil || len(keys) != 3 || keys[1].Subject != "two" || keys[1].Plain || strings.Join(keys[1].Roles, "") != "client" {
		t.Fatalf("%+v %v", keys, err)
	}
	for i, want := range []string{
		"# Ours.\n# of the other team\n" + two + "\n# the last one\n" + three + "# the end\n",
		"# Ours.\n" + one + "# of the other team\n\n# the last one\n" + three + "# the end\n",
		"# Ours.\n" + one + "# of the other team\n" + two + "\n# the last one\n# the end\n",
	} {
		if got, err := WithoutKey([]byte(file), keys[i].ID); err != nil || string(got) != want {
			t.Errorf("%d: %v\n%s", i, err, got)
		}
	}
	flow := "[" + strings.ReplaceAll(strings.TrimPrefix("{subject: a, roles: [client], key: "+strings.Repeat("a", 30)+"}, {subject: b, roles: [admin], key: "+strings.Repeat("b", 30)+"}", " "), "\n", "") + "]\n"
	plain, err := ListKeys([]byte(flow))
	if err != nil || !plain[0].Plain {
		t.Fatal(plain, err)
	}
	for _, c := range []struct{ file, id, says string }{
		{file, "nobody", "there is no key"},
		{one, keys[0].ID, "only key"},
		{flow, plain[0].ID, "editor"},
		{"- subject: x\n", keys[0].ID, "roles"},
	} {
		if _, err := WithoutKey([]byte(c.file), c.id); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.file, err, c.says)
		}
	}
}
