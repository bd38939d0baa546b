import qupath.lib.io.Hierarchy
import qupath.lib.io.Item

/** What a person does in QuPath. */
class Draw {
    static hierarchy() { new Hierarchy() }
    static annotation(String pathClass, List box) {
        new Item(id: UUID.randomUUID(), objectType: 'annotation', pathClass: pathClass, box: box)
    }
    static void reshape(object, List box) { object.box = box }
    static void classify(object, String pathClass) { object.pathClass = pathClass }
}
