package settings

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Check returns an error that names the variables which the tags env of a struct name, and which
// are set but empty, or blank: whoever set one meant something by it, and a default in its place
// may be the opposite, like no keys at all. environment is as [os.Environ] gives it.
func Check[T any](environment []string) error {
	known := make(map[string]bool)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if name := f.Tag.Get("env"); name != "" {
			known[name] = true
		}
	}
	var errs []error
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		if known[name] && strings.TrimSpace(value) == "" {
			errs = append(errs, Empty(name))
		}
	}
	return errors.Join(errs...)
}

// Empty is the error of a variable that is set but empty.
func Empty(name string) error {
	return fmt.Errorf("%s is set but empty: unset it if nothing is meant by it (unset %s), or give it a value", name, name)
}
