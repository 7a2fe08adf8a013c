// Package arch has no code: its tests check the whole repository. They check who
// may import whom, which packages are pure, where a subject may be spelled out, and
// the language of comments and texts. No linter of one module can see these rules.
package arch
