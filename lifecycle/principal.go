package lifecycle

import "slices"

// Role is what a caller may do.
type Role string

// The roles. A client submits and reads what it owns; a processor reports on
// any request; an admin may see what is kept from both, such as stack traces.
const (
	RoleClient    Role = "client"
	RoleProcessor Role = "processor"
	RoleAdmin     Role = "admin"
)

// Principal is who makes a call. Requests belong to its Subject.
type Principal struct {
	Subject string
	Roles   []Role
}

// Is reports whether the principal has the role.
func (p Principal) Is(role Role) bool { return slices.Contains(p.Roles, role) }
