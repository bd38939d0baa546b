package qupath.lib.io

class Item {
    UUID id
    String kind, pathClass, name
    List box
    Map metadata = [:]

    UUID getID() { id }
    boolean isAnnotation() { kind == 'annotation' }
    boolean isDetection() { kind == 'detection' }
    Roi getROI() { new Roi(box) }
}
