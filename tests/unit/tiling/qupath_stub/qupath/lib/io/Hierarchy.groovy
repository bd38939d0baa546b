package qupath.lib.io

class Hierarchy {
    private List<Item> items = []
    Collection<Item> getAnnotationObjects() { items.findAll { it.isAnnotation() } }
    Collection<Item> getAllObjects(boolean includeRoot) { assert !includeRoot; items.toList() }
    void removeObjects(Collection<? extends Item> removed, boolean keepChildren) {
        assert keepChildren
        items.removeAll(removed)
    }
    boolean addObjects(Collection<? extends Item> added) { items.addAll(added) }
}
