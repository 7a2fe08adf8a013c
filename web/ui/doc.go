// Package ui holds the components and the formatting that more than one feature
// uses. A component is a pure function of its arguments: the pages and the live
// updates of a page are made of the same ones. Whatever devices and people wrote is
// escaped by templ; nothing here emits raw HTML, an inline script or an inline
// style.
package ui
