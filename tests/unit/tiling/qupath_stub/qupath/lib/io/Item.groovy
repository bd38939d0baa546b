package qupath.lib.io

class Item {
    UUID id
    String objectType, pathClass, name
    List box
    Map metadata = [:]

    UUID getID() { id }
    boolean isAnnotation() { objectType == 'annotation' }
    boolean isDetection() { objectType == 'detection' }
    Roi getROI() { new Roi(box) }
}
